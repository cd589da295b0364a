"""What ``hybrid executors check`` makes of the database: processes that are missing, queues, files, differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert

from executors.findings import Component, Examination
from executors.registry import load_each
from runtime.cli.commands.executor_check import Asked, _records
from runtime.cli.declaring import FILES, WorkerDeclaration
from runtime.cli.deployment_check import Deployment, absent, demand, stale, survey, unread
from runtime.config import load
from runtime.config.parity import API_SERVER, COMMAND, DAG_PROCESSOR, SCHEDULER, WORKER, declare
from runtime.core import clock
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, TaskSpec
from runtime.db.engine import open_database
from runtime.db.schema import component, scheduler


@pytest.mark.parametrize(
    ("kinds", "remote", "told"),
    [
        ((), ["k8s"], []),
        ((SCHEDULER, API_SERVER, DAG_PROCESSOR), ["k8s"], []),
        ((SCHEDULER, DAG_PROCESSOR), [], []),
        ((SCHEDULER, DAG_PROCESSOR), ["k8s", "c"], [("error", "no API server is alive, so nothing starts on k8s, c")]),
        ((SCHEDULER, API_SERVER), [], [("warning", "no DAG processor is alive, so changes of DAG files are not seen")]),
    ],
)
def test_processes_are_missed_where_a_scheduler_runs(kinds, remote, told):
    found = absent([Component(kind, "a") for kind in kinds], remote)
    assert [(str(each.severity), each.text.split(": ")[0]) for each in found] == told


def test_queues_without_a_worker_are_errors_where_attempts_wait():
    wanted, waiting = {"default": "d.a", "gpu": "d.b", "big": "d.c"}, {"gpu": 3, "old": 1}
    found = unread({"default": 2}, wanted, waiting)
    assert [(str(each.severity), each.text.split(";")[0]) for each in found] == [
        ("warning", "no worker reads queue big, where task d.c goes"),
        ("error", "no worker reads queue gpu, where 3 attempts wait"),
        ("error", "no worker reads queue old, where 1 attempts wait"),
    ]


def test_without_any_worker_only_queues_where_attempts_wait_are_named():
    assert [each.text.split(",")[0] for each in unread({}, {"a": "d.a", "b": "d.b"}, {"b": 1})] == [
        "no worker reads queue b"
    ]


def test_the_queues_of_a_dag_are_those_of_the_executors_that_its_tasks_go_to(home):
    settings = load(env={"HYBRID__CORE__EXECUTOR": "LocalExecutor, c:CeleryExecutor"})
    tasks = (
        TaskSpec("one", "@task", executor="c", queue="gpu"),
        TaskSpec("two", "@task", executor="c", queue="gpu"),
        TaskSpec("three", "@task", queue="any"),
        TaskSpec("four", "EmptyOperator", executor="c", queue="never", empty=True),
        TaskSpec("five", "@task", executor="gone", queue="nowhere"),
    )
    assert demand(settings, [DagSpec("d", tasks)]) == {"c": {"gpu": "d.one"}, "LocalExecutor": {"any": "d.three"}}


class TestFiles:
    @pytest.fixture
    def dags(self, settings) -> Path:
        folder = settings.core.dags_folder
        folder.mkdir()
        for name in ("a", "b"):
            (folder / f"{name}.py").write_text(f"dag {name}")
        return folder

    def hashes(self, dags: Path) -> list[tuple[str, str]]:
        import hashlib

        return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(dags.glob("*.py"))]

    def test_a_worker_with_the_same_files_is_not_told_of(self, settings, dags):
        worker = Component(WORKER, "w", WorkerDeclaration(settings)())
        assert list(stale([worker, Component(WORKER, "old")], self.hashes(dags))) == []

    def test_files_that_differ_or_are_missing_are_named(self, settings, dags):
        """Also those that changed after the worker was asked for the first time."""
        known, declaration = self.hashes(dags), WorkerDeclaration(settings)
        declaration()
        (dags / "b.py").write_text("dag b, another one")
        (found,) = stale([Component(WORKER, "w@host", declaration())], [*known, ("c.py", "0")])
        assert str(found.severity) == "warning"
        assert "worker w@host does not have the DAG processor's version of b.py, c.py; copy" in found.text

    def test_a_worker_tells_no_names_and_no_content(self, settings, dags):
        declared = WorkerDeclaration(settings)()
        assert not any(word in declared[FILES] for word in ("a.py", self.hashes(dags)[0][1][:20]))
        assert len(declared[FILES].split()) == 2

    def test_a_folder_that_is_not_there_is_an_empty_one(self, settings):
        assert WorkerDeclaration(settings)()[FILES] == ""


def live(settings, kind: str, name: str, offset: int = 0, age: float = 0.0, **options: str) -> None:
    """Write the row of a process that declares its settings with other ``options``."""
    declared = declare(load(settings.home, {f"HYBRID__{key.upper()}": value for key, value in options.items()}), kind)
    at = clock.now() - round(age * clock.SECOND)
    row = {"id": uuid7(), "hostname": name, "pid": 1, "started_at": at, "heartbeat_at": at, "clock_offset": offset}
    row["declared"] = json.dumps(declared)
    table = component if kind != SCHEDULER else scheduler
    row |= {"kind": kind} if kind != SCHEDULER else {"pid_started": 1, "boot_id": "b", "lease_expires_at": at}
    database = open_database(settings)
    with database.write() as connection:
        connection.execute(insert(table).values(**row))
    database.close()


class TestSurvey:
    def test_a_deployment_of_one_mind_has_nothing_to_tell(self, settings, hybrid):
        for kind in (SCHEDULER, DAG_PROCESSOR, API_SERVER):
            live(settings, kind, "a")
        result = hybrid("executors", "check", "-o", "json")
        assert (result.code, result.json[-1]["findings"]) == (0, [])

    def test_differences_are_told_a_line_each(self, settings, hybrid):
        live(settings, SCHEDULER, "one")
        live(settings, SCHEDULER, "two", core__executor_routes="queue=x -> LocalExecutor")
        live(settings, DAG_PROCESSOR, "three", core__executor="LocalExecutor, b:LocalExecutor")
        live(settings, API_SERVER, "four", offset=-9 * clock.SECOND)
        result = hybrid("executors", "check", "-o", "json")
        assert result.code == 1
        told = [
            (each["severity"], each["about"], each["text"].split(" is ")[0]) for each in result.json[-1]["findings"]
        ]
        assert told == [
            ("error", "parity", "[core] executor"),
            ("error", "parity", "[core] executor_routes"),
            ("warning", "parity", "the clock of api-server four:1"),
        ]

    def test_processes_that_are_gone_are_not_compared(self, settings):
        live(settings, DAG_PROCESSOR, "old", age=60.0, core__executor="CeleryExecutor")
        live(settings, SCHEDULER, "old", age=60.0, core__executor="CeleryExecutor")
        found = survey(settings, [])
        assert [each.kind for each in found.components] == [COMMAND]
        assert found.findings == ()


def test_a_workers_clock_is_compared_with_the_databases():
    """It was read by this host's, which is 20 s ahead: the worker's is 21 s ahead of the database's."""
    entry = load_each("c:LocalExecutor", options=lambda *_: {}, parallelism=1)[0]
    asked = Asked(entry, Examination(workers=(Component(WORKER, "w", {}, 1.0),)))
    *_, whole = _records([asked], Deployment(clock_offset=20.0), of_all=True)
    assert [each["text"].split(". ")[0] for each in whole["findings"]] == ["the clock of worker w is 21 s ahead"]
