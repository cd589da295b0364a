"""How a scheduler process ends: what belongs to it ends with it, what runs elsewhere goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from executors.base import BaseExecutor
from executors.registry import ExecutorRegistry
from executors.testing import ScriptedExecutor
from runtime.db.engine import Database
from runtime.scheduler import main
from runtime.scheduler.assembly import Assembly
from runtime.scheduler.duties import LoopOptions
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.leases import Identity
from runtime.scheduler.loop import Scheduler
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.memory import Memory
from runtime.scheduler.waking import Waker
from tests.database.builders import router


class Doomed(Scheduler):
    """Another scheduler declares it dead as soon as its executors are there."""

    waker: Waker

    def begin(self) -> None:
        super().begin()
        deadline = time.monotonic() + 30
        while any(lane.status().health != Health.HEALTHY for lane in self.lanes.values()):
            assert time.monotonic() < deadline, "the executors were not made"
            self.waker.wait(1.0)
        self.finish()


def test_a_scheduler_declared_dead_stops_its_own_work_and_destroys_nothing_else(database: Database) -> None:
    """Invariant 9: remote attempts belong to whoever took the runs over."""
    executors = {"local": ScriptedExecutor(), "remote": ScriptedExecutor()}
    waker = Waker()
    lanes = {name: make_lane(name, executor, waker) for name, executor in executors.items()}
    memory = Memory(Identity(), router(*executors))
    policy = LossPolicy(infra_retries=2, hostname="worker", local={"local"})
    scheduler = Doomed(database, memory, lanes, policy, LoopOptions())
    scheduler.waker = waker
    assembly = Assembly(scheduler, lanes, ExecutorRegistry([]), waker)
    assert main._run(assembly, main.Stop(waker), 0.0) == 1
    main._close(assembly, database)
    assert not any(lane.status().health is Health.HEALTHY for lane in lanes.values())
    assert "terminate" in methods(executors["local"])
    assert not {"terminate", "end"} & methods(executors["remote"])


def make_lane(name: str, executor: BaseExecutor, waker: Waker) -> Lane:
    def create(wake: Callable[[], None]) -> BaseExecutor:
        return executor

    return Lane(name, class_name="ScriptedExecutor", create=create, wake_scheduler=waker)


def methods(executor: ScriptedExecutor) -> set[str]:
    return {method for method, _ in executor.calls}
