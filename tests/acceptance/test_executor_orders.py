"""``hybrid executors drain``, ``pause``, ``resume``, ``set-parallelism``, in a running deployment and without one."""

from __future__ import annotations

import pytest
from deployment import Deployment, wait_until

HOLDS = """
import pathlib, time
from runtime import DAG, task

HERE = pathlib.Path({folder!r})

with DAG("holds"):
    @task
    def holds(n: int):
        (HERE / f"began_{{n}}").touch()
        while not (HERE / "go").exists():
            time.sleep(0.02)
    for n in range(4):
        holds.override(task_id=f"t{{n}}")(n)
"""


@pytest.fixture
def holding(deployment: Deployment) -> Deployment:
    deployment.configure({"local_executor": {"parallelism": "2"}})
    deployment.standalone()
    deployment.write_dag("holds", HOLDS.format(folder=str(deployment.home)))
    return deployment


def begun(deployment: Deployment) -> int:
    return len(list(deployment.home.glob("began_*")))


def test_orders_are_followed_while_tasks_run(holding: Deployment) -> None:
    run = holding.trigger("holds")
    wait_until(lambda: begun(holding) == 2, "two tasks to run")
    raised = holding.json("executors", "set-parallelism", "LocalExecutor", "3", "-o", "json")
    assert (raised["followed"], raised["parallelism"], raised["schedulers"]) == (True, 3, 1)
    wait_until(lambda: begun(holding) == 3, "the new slot to be used")
    paused = holding.json("executors", "pause", "LocalExecutor", "-o", "json")
    assert (paused["followed"], paused["mode"], paused["running"]) == (True, "paused", 3)
    (holding.home / "go").touch()
    drained = holding.json("executors", "drain", "LocalExecutor", "--wait", "20", "-o", "json")
    assert (drained["mode"], drained["running"]) == ("draining", 0)
    assert begun(holding) == 3, "the fourth waits"
    shown = {row["name"]: (row["health"], row["reason"]) for row in holding.json("executors", "list")}
    assert shown["heavy"][0] == "healthy"
    assert shown["LocalExecutor"][0] == "draining"
    holding.json("executors", "resume", "LocalExecutor", "-o", "json")
    assert holding.wait_for_run("holds", run) == "success"


def test_order_without_a_scheduler_stands_for_the_next_one(deployment: Deployment) -> None:
    deployment.hybrid("db", "migrate")
    done = deployment.hybrid("executors", "pause", "LocalExecutor")
    assert "no scheduler runs; the order stands" in done.err
    deployment.standalone()
    wait_until(lambda: deployment.json("executors", "list")[0]["health"] == "paused", "the order to be followed")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("pause", "Locl"), 1, "unknown executor 'Locl' (configured: LocalExecutor, heavy)"),
        (("set-parallelism", "LocalExecutor", "-1"), 2, ""),
        (("set-parallelism", "LocalExecutor", "many"), 2, "'many' is neither a whole number of slots"),
    ],
)
def test_bad_orders_are_one_line(deployment: Deployment, words: tuple[str, ...], code: int, told: str) -> None:
    deployment.hybrid("db", "migrate")
    done = deployment.hybrid("executors", *words, code=code)
    assert told in done.err
    assert done.err.count("\n") == 1
