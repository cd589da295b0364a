"""Fan out and in: four tasks work side by side on parts of the data, a fifth joins what they return."""

from runtime import dag, task


@task
def split(n: int, parts: int) -> list[list[int]]:
    numbers = list(range(n))
    return [numbers[part::parts] for part in range(parts)]


@task
def add_up(chunks: list[list[int]], part: int) -> int:
    return sum(chunks[part])


@task
def total(sums: list[int]) -> int:
    print(f"{' + '.join(map(str, sums))} = {sum(sums)}")
    return sum(sums)


@dag(tags=["example"])
def fan_out(n: int = 1000):
    """``hybrid dags trigger fan_out --conf '{"n": 50}'`` gives it another size."""
    chunks = split(n, parts=4)
    total([add_up(chunks, part) for part in range(4)])


fan_out()
