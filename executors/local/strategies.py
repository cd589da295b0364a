"""Which worker gets a workload, and when a worker goes: warm workers that are used again, or a fresh one per task."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from executors.local.channel import MAX_FRAME, Kind
from executors.local.crew import Crew, Worker
from executors.workload import TaskInstanceKey, Workload


@dataclass(frozen=True)
class Upkeep:
    """When warm workers go."""

    idle_workers: int = 2
    """So many may stay idle for as long as they like."""
    idle_seconds: float = 10.0
    """The others may stay idle for so long."""
    max_rss: int = 200 * 2**20
    """A worker above it goes after its attempt; bytes."""


class Strategy(Protocol):
    """Told everything that concerns the choice of workers; holds no reference to the executor."""

    def assign(self, workload: Workload) -> None:
        """Give the workload to a worker, or keep it until one is free. Raises ``OSError`` without descriptors."""

    def idle(self, worker: Worker) -> None:
        """``worker`` asks for something to do."""

    def left(self, worker: Worker) -> None:
        """``worker`` is gone, or takes nothing more."""

    def forget(self, key: TaskInstanceKey) -> bool:
        """Drop a workload that waits for a worker; ``False`` where none does."""

    def tidy(self, now: float) -> None:
        """Let superfluous workers go; ``now`` is ``time.monotonic()``."""

    def resize(self, parallelism: int) -> None:
        """How many may work at once from now on."""


def assignment(workload: Workload) -> bytes:
    """The body of its ASSIGN. Raises ``ValueError`` on one that no worker would accept."""
    body = workload.to_json()
    if len(body) > MAX_FRAME:
        raise ValueError(f"the workload is {len(body)} bytes long; the limit is {MAX_FRAME}")
    return body


def give(crew: Crew, worker: Worker, workload: Workload, body: bytes) -> bool:
    """Send the workload to a worker that does nothing; ``False`` where that worker is gone."""
    worker.key, worker.revoked, worker.idle_since = workload.key, False, 0.0
    if crew.send(worker, Kind.ASSIGN, body):
        return True
    worker.key = None
    return False


def dismiss(crew: Crew, worker: Worker) -> None:
    """Have a worker exit after what it does now: its poison pill."""
    worker.leaving = True
    crew.send(worker, Kind.STOP)


class LocalWorker:
    """One fresh process per task, which ends with it: ``parallelism = 0``."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def assign(self, workload: Workload) -> None:
        body = assignment(workload)
        worker = self._crew.hire()
        worker.key = workload.key
        self._crew.send(worker, Kind.ASSIGN, body)
        dismiss(self._crew, worker)

    def idle(self, worker: Worker) -> None:
        """It has had its poison pill."""

    def left(self, worker: Worker) -> None:
        """Nobody waits for one."""

    def forget(self, key: TaskInstanceKey) -> bool:
        return False

    def tidy(self, now: float) -> None:
        """They go by themselves."""

    def resize(self, parallelism: int) -> None:
        """There is no limit."""


class QueuedLocalWorker:
    """Up to ``parallelism`` warm processes, used again and again: the one that holds the file version, else the one
    used last, so that the surplus grows cold and is let go.
    """

    def __init__(self, crew: Crew, parallelism: int, upkeep: Upkeep) -> None:
        self._crew = crew
        self._parallelism = parallelism
        self._upkeep = upkeep
        self._idle: dict[int, Worker] = {}
        """By number, the one used last at the end."""
        self._waiting: dict[TaskInstanceKey, Workload] = {}
        """Launched while a worker was between the end of its attempt and its IDLE, or busy with a revoked one."""

    def assign(self, workload: Workload) -> None:
        body = assignment(workload)
        while (worker := self._pick(f"{workload.code.rel_path}@{workload.code.file_hash}")) is not None:
            del self._idle[worker.number]
            if give(self._crew, worker, workload, body):
                return
        if self._crew.usable_count < self._parallelism:
            worker = self._crew.hire()
            worker.key = workload.key
            self._crew.send(worker, Kind.ASSIGN, body)
        else:
            self._waiting[workload.key] = workload

    def _pick(self, file_version: str) -> Worker | None:
        last: Worker | None = None
        for worker in reversed(self._idle.values()):
            if file_version in worker.files:
                return worker
            last = last or worker
        return last

    def idle(self, worker: Worker) -> None:
        if worker.rss > self._upkeep.max_rss:
            dismiss(self._crew, worker)
            self.left(worker)
            return
        worker.idle_since = time.monotonic()
        self._idle[worker.number] = worker
        self._serve_waiting()

    def left(self, worker: Worker) -> None:
        self._idle.pop(worker.number, None)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        if self._waiting and (self._idle or self._crew.usable_count < self._parallelism):
            key, workload = next(iter(self._waiting.items()))
            del self._waiting[key]
            try:
                self.assign(workload)
            except OSError:
                self._waiting[key] = workload
                raise

    def forget(self, key: TaskInstanceKey) -> bool:
        return self._waiting.pop(key, None) is not None

    def resize(self, parallelism: int) -> None:
        """What is too many goes when it has been idle for long enough."""
        self._parallelism = parallelism
        self._serve_waiting()

    def tidy(self, now: float) -> None:
        surplus = len(self._idle) - self._upkeep.idle_workers
        for worker in list(self._idle.values())[: max(0, surplus)]:
            if now - worker.idle_since < self._upkeep.idle_seconds:
                return
            del self._idle[worker.number]
            dismiss(self._crew, worker)
