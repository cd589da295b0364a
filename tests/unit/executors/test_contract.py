"""The contract that ``executors.testing`` ships, kept by the executors that ship with it and by two of other hands."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

from executors.base import BaseExecutor
from executors.local.executor import LocalExecutor
from executors.local.sequential import SequentialExecutor
from executors.testing import ExecutorContract, ScriptedExecutor
from executors.workload import Workload


class PopenExecutor(BaseExecutor):
    """The custom executor of Airflow's documentation: the two methods, and the kindness to clean up."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.processes = {}

    def execute_async(self, key, command, queue=None, executor_config=None):
        self.processes[key] = subprocess.Popen(command, env=dict(self.workload(key).env))

    def sync(self):
        for key, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[key]
                self.change_state(key, "success" if process.returncode == 0 else "failed", process.returncode)

    def revoke_task(self, ti):
        super().revoke_task(ti)
        if process := self.processes.pop(ti.key, None):
            process.kill()
            process.wait()

    def terminate(self):
        while self.processes:
            _, process = self.processes.popitem()
            process.kill()
            process.wait()


class TestScriptedExecutor(ExecutorContract):
    """The fake is held to what it stands for."""

    @pytest.fixture
    def executor(self) -> BaseExecutor:
        made = ScriptedExecutor(2)
        made.start()
        return made


class TestCustomExecutor(ExecutorContract):
    """A plug-in of twenty lines over real processes."""

    @pytest.fixture
    def executor(self) -> Iterator[BaseExecutor]:
        made = PopenExecutor(2)
        made.start()
        yield made
        made.terminate()

    def make_workload(self, task_id: str = "task", dag_id: str = "contract", **fields: Any) -> Workload:
        return super().make_workload(task_id, dag_id, **{"command": ("/bin/sleep", "60"), **fields})


class TestLocalExecutor(ExecutorContract):
    """Real worker processes; a bare one launches although no zygote is there."""

    cls = LocalExecutor
    bare_members = MappingProxyType({"_may_launch": lambda _: True})

    @pytest.fixture
    def executor(self) -> Iterator[BaseExecutor]:
        made = self.cls(2)
        made.start()
        yield made
        made.terminate()

    def make_workload(self, task_id: str = "task", dag_id: str = "contract", **fields: Any) -> Workload:
        return super().make_workload(task_id, dag_id, **{"command": ("/bin/sleep", "60"), **fields})


class TestSequentialExecutor(TestLocalExecutor):
    """The same with one slot."""

    cls = SequentialExecutor
