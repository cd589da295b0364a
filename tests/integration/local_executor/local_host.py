"""What a lane does, for one LocalExecutor under test."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executors import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload
from executors.events import ExecutorEvent
from executors.local.executor import LocalExecutor

DEADLINE = 20.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when ``condition`` holds; fail the test after ``DEADLINE`` seconds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}"
        select.select([], [], [], 0.002)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


@dataclass
class Host:
    """Does what a lane does: a heartbeat whenever a handle is readable, and takes the events."""

    executor: LocalExecutor
    events: list[ExecutorEvent] = field(default_factory=list)
    count: int = 0

    def queue(
        self, do: str = "ok", *, name: str = "", priority: int = 1, file: str = "a.py", **orders: Any
    ) -> TaskInstanceRef:
        """Queue a workload with orders for ``local_entry``."""
        self.count += 1
        key = TaskInstanceKey("dag", name or f"task{self.count}", "run", attempt_id=f"attempt-{self.count}")
        workload = Workload(
            key=key,
            command=("hybrid", "tasks", "run"),
            code=CodeReference(file, "1"),
            priority_weight=priority,
            executor_config={"do": do, **orders},
        )
        self.executor.queue_workload(workload)
        return TaskInstanceRef(key)

    def beat(self, timeout: float = 0.05) -> None:
        select.select(list(self.executor.poll_handles()), [], [], timeout)
        self.executor.heartbeat()
        self.events += self.executor.get_event_buffer()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Beat until ``condition`` holds."""
        deadline = time.monotonic() + DEADLINE
        self.beat(0)
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE} s: {what}\n{self.executor.debug_dump()}"
            self.beat()

    def until_events(self, count: int) -> list[ExecutorEvent]:
        """Beat until ``count`` events have come in all."""
        self.until(lambda: len(self.events) >= count, f"{count} events, got {self.events}")
        return self.events

    def until_idle(self) -> None:
        """Beat until every worker asks for something to do."""
        self.until(lambda: all(w.idle_since and not w.key for w in self.executor._crew.workers.values()), "all idle")

    def outcome(self, ti: TaskInstanceRef) -> tuple[str, str | None]:
        """Name of the only event of an attempt, and its reason."""
        (event,) = [event for event in self.events if event.key == ti.key]
        return type(event).__name__, getattr(event, "reason", None) or getattr(event, "info", None)

    @property
    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self.executor._crew.workers.values() if worker.pid]

    @property
    def zygote_pid(self) -> int:
        pid = self.executor._nursery.pid
        assert pid is not None
        return pid
