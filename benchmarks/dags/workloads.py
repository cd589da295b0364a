"""The workloads of the benchmarks; the sizes come from the environment, so that one file serves them all."""

import os
from datetime import datetime

from runtime import dag, task

FAN_OUT = int(os.environ.get("BENCH_FAN_OUT", "200"))
CHAIN = int(os.environ.get("BENCH_CHAIN", "30"))
MANY = int(os.environ.get("BENCH_MANY", "10"))
PODS = int(os.environ.get("BENCH_PODS", "0"))
"""Only where there is an executor for them."""
ARGS = {
    "schedule": None,
    "start_date": datetime(2024, 1, 1),
    "catchup": False,
    "max_active_tasks": 1024,
    "max_active_runs": 64,
}


@task
def noop() -> None:
    """Does nothing."""


@dag(dag_id="fan_out", **ARGS)
def fan_out() -> None:
    for i in range(FAN_OUT):
        noop.override(task_id=f"t{i}")()


@dag(dag_id="chain", **ARGS)
def chain() -> None:
    previous = None
    for i in range(CHAIN):
        current = noop.override(task_id=f"t{i}")()
        if previous is not None:
            previous >> current
        previous = current


@dag(dag_id="many", **ARGS)
def many() -> None:
    for i in range(MANY):
        noop.override(task_id=f"t{i}")()


fan_out()
chain()
many()

if PODS:

    @dag(dag_id="pods", **ARGS)
    def pods() -> None:
        for i in range(PODS):
            noop.override(task_id=f"t{i}", executor="k8s")()

    pods()
