"""Executors: each task says where it runs.

Needs ``[core] executor = LocalExecutor, heavy:LocalExecutor``. The DAG asks for nothing, so its tasks run on the first
executor of the list; two of them ask for ``heavy``, whose own ``parallelism`` keeps it from filling the machine.
"""

from runtime import DAG, task

with DAG("executors", tags=["example"]):

    @task
    def plan() -> list[int]:
        return [20_000, 40_000]

    @task(executor="heavy")
    def crunch(sizes: list[int], which: int) -> int:
        return sum(i * i % 7 for i in range(sizes[which]))

    @task
    def report(results: list[int]) -> None:
        print("results:", results)

    sizes = plan()
    report([crunch(sizes, 0), crunch(sizes, 1)])
