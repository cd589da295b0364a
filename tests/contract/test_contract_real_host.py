"""The contract's tasks as attempts of a DAG, with this host's task service and its database behind the executor."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.events import ExecutorEvent, Failed, Lost, Succeeded
from executors.local.executor import LocalExecutor
from executors.local.sequential import SequentialExecutor
from executors.names import parse_executors
from executors.testing import LaunchContract
from executors.testing.launches import Launch
from executors.workload import TaskInstanceKey, Workload
from runtime.authoring.defaults import Defaults
from runtime.config import Settings
from runtime.config.worker import worker_config
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database
from runtime.processing.parse import parse_file
from runtime.scheduler.assembly import WORKER_ENTRY
from runtime.scheduler.step import make_workload
from runtime.service.tasks import TaskService
from tests.database.builders import World

DAG_FILE = """
from pathlib import Path
from executors.testing.deeds import DEEDS
from runtime import DAG, get_current_context, task

with DAG("contract"):
    for name in DEEDS:
        @task(task_id=name)
        def do(deed):
            DEEDS[deed](Path(get_current_context()["dag_run"].conf["folder"]))
        do(name)
"""
REPORTS = {"succeed": "success", "fail": "failed", "die": "failed", "flood": "success", "wait": "success"}
"""Deed → the state that the database holds in the end."""


class RealHostContract(LaunchContract):
    """Each launch is an attempt of a run of its own."""

    cls: type[LocalExecutor] = LocalExecutor
    parallelism = 2
    isolation = "fork"
    outcomes = MappingProxyType(
        {
            "succeed": (Succeeded,),
            "fail": (Succeeded, Failed),  # an executor knows of processes: this one has reported, and ended well
            "die": (Succeeded, Failed, Lost),
            "flood": (Succeeded,),
        }
    )

    @pytest.fixture
    def executor(
        self, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[BaseExecutor]:
        folder = settings.core.dags_folder
        folder.mkdir()
        (folder / "contract.py").write_text(textwrap.dedent(DAG_FILE))
        parsed = parse_file(folder, "contract.py", parse_executors("LocalExecutor"), Defaults())
        assert not parsed.error
        DatabaseDagStore(database, paused_at_creation=False).save(parsed)
        self.world = World(database)
        context = ExecutorContext(
            name="local",
            options={"task_isolation": self.isolation},
            task_service=TaskService(database),
            worker_entry=WORKER_ENTRY,
            worker_config=worker_config(settings) | {"killed_task_cleanup_time": "1"},
        )
        made = self.cls(self.parallelism, context=context)
        made.start()
        yield made
        made.terminate()

    def command_workload(self, deed: str, folder: Path, **fields: Any) -> Workload:
        run = self.world.claim(self.world.trigger("contract", conf={"folder": str(folder)}))
        (instance,) = [found for found in run.instances.values() if found.node.spec.task_id == deed]
        workload = make_workload(instance, self.world.queue(instance, "local"))
        return replace(workload, **fields)

    def another(self, executor: BaseExecutor, parallelism: int = 2) -> BaseExecutor:
        return super().another(executor, self.parallelism if parallelism > 1 else parallelism)

    def run_to_end(self, executor: BaseExecutor, *launches: Launch) -> dict[TaskInstanceKey, ExecutorEvent]:
        """And the report has arrived where it belongs."""
        ends = super().run_to_end(executor, *launches)
        for launch in launches:
            state = self.world.attempt(launch.key.attempt_id).state
            assert state == REPORTS[launch.deed] or isinstance(ends[launch.key], Lost), f"{launch.deed} gave {state}"
        return ends


class TestLocalExecutorForks(RealHostContract):
    """A process per attempt, from a warm worker that holds the file."""


class TestLocalExecutorUnlimited(RealHostContract):
    """A fresh worker per attempt."""

    parallelism = 0


class TestSequentialExecutor(RealHostContract):
    cls = SequentialExecutor


class TestLocalExecutorSpawns(RealHostContract):
    """A fresh interpreter per attempt."""

    isolation = "spawn"


class TestLocalExecutorReuses(RealHostContract):
    """Attempts in the worker process itself, which outlives them."""

    isolation = "reuse"

    def processes(self, executor: BaseExecutor, launch: Launch) -> Sequence[object]:
        assert isinstance(executor, LocalExecutor)
        idle = [worker.pid for worker in executor._crew.workers.values() if worker.key is None]
        return [pid for pid in super().processes(executor, launch) if pid not in idle]
