"""A deployment on PostgreSQL: the same command line, the same daemons, and a server that may go away for a while."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import ROOT, Deployment, wait_until

from tests.postgres import Postgres

GATED = """
import pathlib, time
from runtime import DAG, task

with DAG({dag_id!r}, max_active_runs=20):

    @task
    def opened():
        while not pathlib.Path({gate!r}).exists():
            time.sleep(0.02)

    @task
    def after(n):
        return n

    first = opened()
    for n in range(4):
        first >> after.override(task_id=f"after_{{n}}")(n)
"""


@pytest.fixture
def url(new_url: Callable[..., str]) -> str:
    """Of an empty database, with a password that nothing may show; this server asks for none."""
    return new_url("postgresql", migrated=False).replace("postgres@", "postgres:my-secret@")


@pytest.fixture
def deployment(tmp_path: Path, url: str) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "home", url)
    yield made
    made.close()
    for daemon in made.daemons:
        assert "my-secret" not in daemon.text


def gated(deployment: Deployment, dag_id: str = "gated") -> Path:
    """A DAG whose first task waits for the returned file."""
    gate = deployment.home / "gate"
    deployment.write_dag(dag_id, GATED.format(dag_id=dag_id, gate=str(gate)))
    return gate


def test_from_an_empty_database_to_a_green_run(deployment: Deployment) -> None:
    shown = deployment.hybrid("db", "migrate").out
    assert "postgresql+psycopg://postgres:***@" in shown
    deployment.hybrid("db", "check")
    shutil.copy(ROOT / "dags" / "hello.py", deployment.dags)
    deployment.standalone()
    run_id = deployment.run_to_end("hello")
    assert {record["state"] for record in deployment.states("hello", run_id).values()} == {"success"}
    assert deployment.xcom(run_id, "greet") == "Hello, world!"
    assert "Hello, world!" in deployment.hybrid("tasks", "logs", "hello", run_id, "greet").out
    names = deployment.query("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
    assert {"application_name": "hybrid scheduler"} in names
    assert not (deployment.home / "hybrid.db").exists()


def test_reset_leaves_the_tables_of_others(deployment: Deployment) -> None:
    deployment.hybrid("db", "migrate")
    deployment.hybrid("db", "check")
    deployment.query("CREATE TABLE ours AS SELECT count(*) AS pools FROM pool")
    deployment.query("UPDATE pool SET slots = 1")
    assert "my-secret" not in deployment.hybrid("db", "reset", "-y").out
    assert deployment.query("SELECT slots FROM pool") == [{"slots": 128}]
    assert deployment.query("SELECT pools FROM ours") == [{"pools": 1}]


def test_a_server_that_goes_away_under_a_run(deployment: Deployment, url: str, postgres: Postgres) -> None:
    """The attempt that runs meanwhile goes on, its report waits, and what follows it runs when the server is back."""
    gate = gated(deployment)
    daemon = deployment.standalone()
    run_id = deployment.trigger("gated")
    deployment.wait_for_task(run_id, "opened", "running")
    postgres.shut(url)
    wait_until(lambda: "not to be had" in daemon.text, "the scheduler's complaint")
    gate.touch()
    wait_until(lambda: daemon.text.count("not to be had") > 1, "another one")
    postgres.open(url)
    assert deployment.wait_for_run("gated", run_id) == "success"
    assert [len(deployment.attempts(run_id, task_id)) for task_id in ("opened", "after_0")] == [1, 1]
    assert daemon.stop() == 0


def test_another_scheduler_takes_over_from_a_killed_one(deployment: Deployment) -> None:
    """What ran is repeated once nothing of it runs any more; the rest runs once."""
    gate = gated(deployment)
    deployment.hybrid("db", "migrate")
    deployment.start("dag-processor")
    killed = deployment.scheduler()
    orphan = deployment.trigger("gated")
    deployment.wait_for_task(orphan, "opened", "running")
    heir = deployment.scheduler()
    gate.touch()
    killed.kill_group()
    killed.wait()
    assert deployment.wait_for_run("gated", orphan) == "success"
    assert [row["state"] for row in deployment.attempts(orphan, "after_1")] == ["success"]
    owners = deployment.query("SELECT ended_at IS NULL AS alive FROM scheduler ORDER BY started_at")
    assert owners == [{"alive": False}, {"alive": True}]
    assert heir.stop() == 0
