"""Half of it runs on LocalExecutor, half in pods, and values go from one half to the other.

What ``make kind-test`` and ``make demo-kubernetes`` run. A task in a pod fails when it finds what a pod must not have.
"""

import os

from runtime import DAG, task

NOT_FOR_PODS = {
    "HYBRID__DATABASE__SQL_ALCHEMY_CONN",
    "HYBRID__API_AUTH__JWT_SECRET",
    "HYBRID__CORE__FERNET_KEY",
    "HYBRID_START_TICKET",
}
A_LITTLE_MORE = {"spec": {"containers": [{"name": "base", "env": [{"name": "WEIGHT", "value": "1"}]}]}}

with DAG("halves"):

    @task(executor="LocalExecutor")
    def square_here(number: int) -> int:
        return number * number

    @task(executor="k8s")
    def square_there(number: int) -> int:
        found = NOT_FOR_PODS & set(os.environ)
        if found:
            raise RuntimeError(f"a pod has {sorted(found)}")
        return number * number

    @task(executor="LocalExecutor")
    def add_here(numbers: list[int]) -> int:
        return sum(numbers)

    @task(executor="k8s", executor_config={"pod_override": A_LITTLE_MORE})
    def add_there(numbers: list[int]) -> int:
        return sum(numbers) * int(os.environ["WEIGHT"])

    @task(executor="LocalExecutor")
    def compare(here: int, there: int) -> None:
        print("sums:", here, there)
        if here != there:
            raise RuntimeError(f"{here} is not {there}")

    @task(executor="k8s")
    def compare_there(here: int, there: int) -> None:
        print("sums:", here, there)
        if here != there:
            raise RuntimeError(f"{here} is not {there}")

    # Crosswise: each half adds up what the other one made.
    of_theirs = add_here([square_there(number) for number in range(4)])
    of_ours = add_there([square_here(number) for number in range(4)])
    compare(of_theirs, of_ours)
    compare_there(of_theirs, of_ours)
