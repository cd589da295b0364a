"""A scheduler with threads and time as in production, whose executors note when they are asked to launch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.testing import ScriptedExecutor
from executors.workload import TaskInstanceKey
from runtime.core.clock import now as clock_now
from runtime.core.specs import DagSpec
from runtime.db.engine import Database
from runtime.db.runs import CreatedRun
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.main import SWITCH_INTERVAL
from runtime.scheduler.memory import Memory
from runtime.scheduler.waking import Bell, Waker
from tests.database.builders import World, router

MEASUREMENTS = 6
"""Others may share the machine: the best counts. What waits for a sick or full executor waits every time."""
DEADLINE = 60.0


class Punctual(ScriptedExecutor):
    """Ends each launch at once and notes when it was asked for it."""

    def __init__(self, clock: Callable[[], int], parallelism: int, *, context: ExecutorContext) -> None:
        super().__init__(parallelism, context=context)
        self._now = clock
        self.instant = True
        self.launched: dict[str, int] = {}
        """Moment by attempt id."""

    def execute_async(
        self, key: TaskInstanceKey, command: Sequence[str], queue: str | None = None, executor_config: Any | None = None
    ) -> None:
        self.launched.setdefault(key.attempt_id, self._now())
        super().execute_async(key, command, queue, executor_config)


class Live(World):
    """A scheduler whose executors have threads of their own.

    :param executors: parallelism by name; the first is the default.
    """

    def __init__(self, database: Database, executors: Mapping[str, int]) -> None:
        super().__init__(database, registered=False)
        self._offset = clock_now() - time.monotonic_ns() // 1000
        self.waker = Waker()
        self.executors: dict[str, Punctual] = {}
        self.lanes = {name: self._lane(name, parallelism) for name, parallelism in executors.items()}
        self.me = Identity()
        self.scheduler = Scheduler(
            database,
            Memory(self.me, router(*executors)),
            self.lanes,
            LossPolicy(infra_retries=2, hostname=self.me.hostname, local=()),
            LoopOptions(),
            clock=self.clock,
            bell=Bell(self.waker),
        )
        for lane in self.lanes.values():
            lane.start()
        self.scheduler.begin()
        self.drive(lambda: all(lane.status().health is Health.HEALTHY for lane in self.lanes.values()), "healthy lanes")

    def clock(self) -> int:
        """Microseconds that no adjustment of the wall clock touches."""
        return time.monotonic_ns() // 1000 + self._offset

    def drive(self, condition: Callable[[], Any], what: str) -> None:
        """Turn the loop as the scheduler's process does, until ``condition``."""
        deadline = time.monotonic() + DEADLINE
        hinted = True
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}"
            self.scheduler.step(hinted=hinted)
            hinted = self.waker.wait(min(self.scheduler.pause, 0.1))

    def begin_runs(self, dag: DagSpec, count: int = 1) -> list[CreatedRun]:
        self.save(dag, rel_path=f"{dag.dag_id}.py")
        return [self.trigger(dag.dag_id, now=self.clock()) for _ in range(count)]

    def run_to_end(self, runs: list[CreatedRun]) -> None:
        mine = {run.id for run in runs}
        self.drive(lambda: not mine & set(self.scheduler.memory.runs) and self.all_ended(runs), "all runs ended")

    def all_ended(self, runs: list[CreatedRun]) -> bool:
        return all(self.run(run.id).state in {"success", "failed"} for run in runs)

    def close(self) -> None:
        for hang in [hang for executor in self.executors.values() for hang in executor._hangs.values()]:
            hang.released.set()
        for lane in self.lanes.values():
            lane.terminate()
        left = [lane.name for lane in self.lanes.values() if not lane.join(DEADLINE)]
        self.waker.close()
        assert not left

    def _lane(self, name: str, parallelism: int) -> Lane:
        def create(wake: Callable[[], None]) -> BaseExecutor:
            context = ExecutorContext(name=name, wake=wake, task_service=self.service)
            self.executors[name] = made = Punctual(self.clock, parallelism, context=context)
            return made

        return Lane(name, class_name="Punctual", create=create, wake_scheduler=self.waker, call_deadline=0.5)


@contextmanager
def running(database: Database, executors: Mapping[str, int]) -> Iterator[Live]:
    """With the switch interval of the scheduler's process."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    made = Live(database, executors)
    try:
        yield made
    finally:
        made.close()
        sys.setswitchinterval(before)
