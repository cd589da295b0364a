"""Half of it runs on LocalExecutor, half on CeleryExecutor, and values go from one half to the other.

What ``make compose-test`` runs. A task on a worker fails when it finds what a worker must not have.
"""

import os

from runtime import DAG, task

NOT_FOR_WORKERS = {
    "HYBRID__DATABASE__SQL_ALCHEMY_CONN",
    "HYBRID__API_AUTH__JWT_SECRET",
    "HYBRID__CORE__FERNET_KEY",
    "HYBRID_START_TICKET",
}

with DAG("halves"):

    @task(executor="LocalExecutor")
    def square_here(number: int) -> int:
        return number * number

    @task(executor="CeleryExecutor")
    def square_there(number: int) -> int:
        found = NOT_FOR_WORKERS & set(os.environ)
        if found:
            raise RuntimeError(f"a worker has {sorted(found)}")
        return number * number

    @task(executor="LocalExecutor")
    def add_here(numbers: list[int]) -> int:
        return sum(numbers)

    @task(executor="CeleryExecutor")
    def add_there(numbers: list[int]) -> int:
        return sum(numbers)

    @task(executor="LocalExecutor")
    def compare(here: int, there: int) -> None:
        print("sums:", here, there)
        if here != there:
            raise RuntimeError(f"{here} is not {there}")

    @task(executor="CeleryExecutor")
    def compare_there(here: int, there: int) -> None:
        print("sums:", here, there)
        if here != there:
            raise RuntimeError(f"{here} is not {there}")

    # Crosswise: each half adds up what the other one made.
    of_theirs = add_here([square_there(number) for number in range(4)])
    of_ours = add_there([square_here(number) for number in range(4)])
    compare(of_theirs, of_ours)
    compare_there(of_theirs, of_ours)
