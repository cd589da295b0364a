"""Stands where the scheduler does: owns lanes, is woken by them, and takes what they bring."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.events import ExecutorEvent
from executors.testing import ExecutorContract, ScriptedExecutor
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import CallAnswer, Lane

DEADLINE = 20.0
NEVER = 3600.0

make_workload = ExecutorContract().make_workload


class Clock:
    """Monotonic time that a test may move forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Host:
    """Stands where the scheduler does: it owns lanes, is woken by them, and takes what they bring."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.executors: dict[str, ScriptedExecutor] = {}
        self.hangs: list[threading.Event] = []
        self.lanes: list[Lane] = []
        self.wakes = 0
        self._woken = threading.Condition()

    def wake(self) -> None:
        with self._woken:
            self.wakes += 1
            self._woken.notify_all()

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Until ``condition``; looked at whenever a lane wakes the host, and now and then."""
        deadline = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}"
            with self._woken:
                self._woken.wait(0.005)
        return found

    def lane(
        self,
        name: str = "one",
        cls: type[BaseExecutor] = ScriptedExecutor,
        script: Callable[[ScriptedExecutor], object] = lambda _: None,
        create: Callable[[Callable[[], None]], BaseExecutor] | None = None,
        parallelism: int = 4,
        **settings: Any,
    ) -> Lane:
        def make(wake: Callable[[], None]) -> BaseExecutor:
            self.executors[name] = made = cls(parallelism, context=ExecutorContext(name=name, wake=wake))
            script(made)
            return made

        lane = Lane(
            name,
            class_name=cls.__name__,
            create=create or make,
            wake_scheduler=self.wake,
            clock=self.clock,
            **{"heartbeat_sec": NEVER, "poll_sec": NEVER, **settings},
        )
        self.lanes.append(lane)
        lane.start()
        return lane

    def ready(self, *args: Any, **settings: Any) -> tuple[Lane, ScriptedExecutor]:
        lane = self.lane(*args, **settings)
        self.wait(lambda: lane.status().health is Health.HEALTHY and lane.status().last_heartbeat, "healthy")
        return lane, self.executors[lane.name]

    def hang(self, executor: ScriptedExecutor, method: str) -> threading.Event:
        """Script a hang of 30 s, released at the end of the test at the latest; return what shows that it has begun."""
        hang = executor.hang(method, 30)
        self.hangs.append(hang.released)
        return hang.entered

    def events(self, lane: Lane, count: int = 1) -> list[ExecutorEvent | CallAnswer]:
        taken: list[ExecutorEvent | CallAnswer] = []
        self.wait(lambda: taken.extend(lane.take()) or len(taken) >= count, f"{count} deliveries")
        return taken

    def close(self) -> None:
        for released in self.hangs:
            released.set()
        for lane in self.lanes:
            lane.terminate()
        left = [lane.name for lane in self.lanes if not lane.join(DEADLINE)]
        assert not left, "a lane's thread is left"
