"""The contract that ``executors.testing`` ships, kept by the executors that ship with it and by the tutorial's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tutorial import MyExecutor

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.events import ExecutorEvent
from executors.local.executor import LocalExecutor
from executors.local.sequential import SequentialExecutor
from executors.testing import ExecutorContract, LaunchContract, ScriptedExecutor
from executors.testing.launches import Launch
from executors.workload import Workload


class TestScriptedExecutor(ExecutorContract):
    """The fake is held to what it stands for; its tasks end as the deeds that they are called after."""

    outcomes = MappingProxyType({name: kinds for name, kinds in LaunchContract.outcomes.items() if " " not in name})
    ends = MappingProxyType({"succeed": "success", "flood": "success", "fail": "failed", "die": "lost"})

    @pytest.fixture
    def executor(self) -> BaseExecutor:
        made = ScriptedExecutor(2)
        made.start()
        return made

    def command_workload(self, deed: str, folder: Path, **fields: Any) -> Workload:
        end = {"end": self.ends[deed]} if deed in self.ends else {}
        return self.make_workload(deed, executor_config={**end, "folder": str(folder)}, **fields)

    def processes(self, executor: BaseExecutor, launch: Launch) -> Sequence[object]:
        return [key for key in executor.running if key == launch.key]

    def beat(self, executor: BaseExecutor) -> list[ExecutorEvent]:
        assert isinstance(executor, ScriptedExecutor)
        for key, workload in executor.running.items():
            if (Path(workload.executor_config.get("folder", "")) / "go").exists():
                executor.finish(key)
        return super().beat(executor)


class TestTutorialExecutor(ExecutorContract):
    """Forty lines are enough."""

    @pytest.fixture
    def executor(self) -> Iterator[BaseExecutor]:
        made = MyExecutor(2, context=ExecutorContext(options={"grace": "1"}))
        made.start()
        yield made
        made.terminate()


class TestLocalExecutor(ExecutorContract):
    """Real worker processes, warm, that run commands; a bare one launches although no zygote is there."""

    cls: type[LocalExecutor] = LocalExecutor
    parallelism = 2
    bare_members = MappingProxyType({"_may_launch": lambda _: True})

    @pytest.fixture
    def executor(self) -> Iterator[BaseExecutor]:
        made = self.cls(self.parallelism)
        made.start()
        yield made
        made.terminate()


class TestUnlimitedLocalExecutor(TestLocalExecutor):
    """A fresh worker process for each task."""

    parallelism = 0

    def another(self, executor: BaseExecutor, parallelism: int = 2) -> BaseExecutor:
        return super().another(executor, 0 if parallelism > 1 else parallelism)


class TestSequentialExecutor(TestLocalExecutor):
    """One slot."""

    cls = SequentialExecutor
