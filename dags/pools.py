"""Pools and priorities: tasks that need many slots of a pool share it, and the important ones go first."""

from runtime import DAG, task

with DAG("pools", max_active_tasks=4, tags=["example"]):

    @task(pool="default_pool", pool_slots=32)
    def wide(number: int) -> int:
        return number

    @task(priority_weight=100, weight_rule="absolute")
    def urgent() -> str:
        return "first"

    urgent()
    for number in range(6):
        wide.override(priority_weight=number + 1)(number)
