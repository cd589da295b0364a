"""A command line in this process, and a database with something to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import insert

from runtime.cli.main import main
from runtime.config import Settings
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, ParsedFile, TaskSpec, TimetableSpec
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database, open_database
from runtime.db.runs import create_manual_run
from runtime.db.schema import executor_status, scheduler, task_attempt, task_instance

NOW = 1_750_000_000_000_000


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def hybrid(home, capsys) -> Callable[..., Result]:
    """Run a command line; never raises."""

    def run(*words: str) -> Result:
        try:
            code = main(list(words))
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture
def etl(database: Database) -> str:
    """A DAG ``etl`` (extract → load) in ``sub/etl.py``, not paused, and a file with an error."""
    spec = DagSpec(
        dag_id="etl",
        tasks=(
            TaskSpec("extract", "@task", executor="heavy", executor_source="task"),
            TaskSpec("load", "BashOperator", upstream=("extract",), queue="big"),
        ),
        timetable=TimetableSpec(kind="cron", expression="0 3 * * *", summary="0 3 * * *"),
        tags=("nightly", "etl"),
    )
    store = DatabaseDagStore(database, paused_at_creation=False)
    store.save(ParsedFile("sub/etl.py", "hash", (spec,)))
    return "etl"


@pytest.fixture
def broken(database: Database) -> None:
    DatabaseDagStore(database).save(ParsedFile("broken.py", "hash", error="SyntaxError: line 3"))


@pytest.fixture
def run(database: Database, etl: str) -> int:
    """A run ``r1`` of ``etl``: ``extract`` has succeeded on ``heavy`` after an infrastructure loss, ``load`` waits."""
    with database.write() as connection:
        created = create_manual_run(connection, dag_id=etl, run_id="r1", conf={}, logical_date=NOW, now=NOW)
        done = _instance(created.id, "extract", state="success", try_number=1, attempt_id=uuid7(), infra_losses=1)
        done |= {"queued_at": NOW + 1, "start_date": NOW + 2_000_000, "end_date": NOW + 3_500_000}
        waiting = _instance(created.id, "load", state="none", try_number=0, attempt_id=None, infra_losses=0)
        connection.execute(
            insert(task_instance), [done, waiting | dict.fromkeys(("queued_at", "start_date", "end_date"))]
        )
        attempt = {"task_instance_id": done["id"], "dag_run_id": created.id, "try_number": 1, "executor": "heavy"}
        attempt |= {
            "executor_reason": "executor= of the task",
            "scheduler_id": "s",
            "version_id": "v",
            "queued_at": NOW,
        }
        lost = attempt | {"id": uuid7(), "dispatch_number": 1, "state": "lost", "reason": "worker died", "pid": 1}
        won = attempt | {"id": done["attempt_id"], "dispatch_number": 2, "state": "success", "reason": None, "pid": 42}
        connection.execute(insert(task_attempt), [lost, won])
    return created.id


@pytest.fixture
def live_scheduler(database: Database) -> None:
    """A scheduler that has just said that it lives, and one that has not for long."""
    from runtime.core import clock

    with database.write() as connection:
        for identifier, beat in (("alive", clock.now()), ("gone", NOW)):
            row = {"id": identifier, "hostname": "box", "pid": 7, "pid_started": 1, "boot_id": "b", "started_at": NOW}
            connection.execute(insert(scheduler).values(**row, heartbeat_at=beat, lease_expires_at=beat))
            status = {"name": "LocalExecutor", "class_name": "LocalExecutor", "is_default": True, "parallelism": 32}
            status |= {"open_slots": 30, "queued": 0, "running": 2, "health": "healthy", "updated_at": beat}
            connection.execute(insert(executor_status).values(scheduler_id=identifier, **status))


def _instance(run_id: int, task_id: str, **values: Any) -> dict[str, Any]:
    row = {"id": uuid7(), "dag_run_id": run_id, "task_id": task_id, "map_index": -1, "max_tries": 0}
    row |= {"dispatch_number": 1, "pool": "default_pool", "pool_slots": 1, "priority_weight": 1, "queue": "default"}
    return row | {"scheduled_at": None, "retry_at": None, "reason": None} | values
