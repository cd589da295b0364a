"""What is to be done, in which order, and what is being done: pure, for one thread at a time."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from executors.kubernetes.pacing import Pace

K = TypeVar("K", bound=Hashable)
W = TypeVar("W")


@dataclass(eq=False)
class Job(Generic[K, W]):
    """One piece of work, from :meth:`Backlog.add` until :meth:`Backlog.done`."""

    key: K
    work: W
    order: int
    tries: int = 0
    """Calls that have begun, but for those that :meth:`Backlog.hasten` brought."""
    began: float = 0.0
    """When the last one did."""
    later: bool = False
    """It waits for a moment of its own."""
    hastened: bool = False
    turn: int = 0
    """Counts those moments."""
    running: bool = False
    dropped: bool = False
    """Nobody wants it any more."""
    uncertain: bool = False
    """A call of it may have worked, although no answer says so."""
    reason: str = ""
    """Why it waits."""


class Backlog(Generic[K, W]):
    """Jobs by key: first come, first served, but for those that wait for a moment of their own."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._jobs: dict[K, Job[K, W]] = {}
        self._ready: list[tuple[int, Job[K, W]]] = []
        self._later: list[tuple[float, int, int, Job[K, W]]] = []
        self._added = 0
        self._running = 0

    def __len__(self) -> int:
        """Jobs that wait or run."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        return self._running

    def find(self, key: K) -> Job[K, W] | None:
        """The job of that key, if it waits or runs."""
        return self._jobs.get(key)

    def add(self, key: K, work: W) -> bool:
        """Take a job. False: one of that key is there already, and goes on."""
        job = self._jobs.get(key)
        if job is not None:
            job.dropped = False
            return False
        self._added += 1
        job = self._jobs[key] = Job(key, work, self._added)
        heapq.heappush(self._ready, (job.order, job))
        return True

    def drop(self, key: K) -> bool:
        """Forget the job. True: none of its calls has worked, nor will."""
        job = self._jobs.get(key)
        if job is None:
            return False
        job.dropped = True
        if job.running:
            return False
        del self._jobs[key]
        return not job.uncertain

    def begin(self, now: float) -> Job[K, W] | None:
        """The job whose call begins now; None: not now."""
        self._sort(now)
        if not self._ready or self._running >= self.pace.limit or now < self.pace.open_at:
            return None
        job = heapq.heappop(self._ready)[1]
        job.running, job.began = True, now
        job.tries += not job.hastened
        job.hastened = False
        self._running += 1
        return job

    def wait(self, now: float) -> float | None:
        """Seconds until :meth:`begin` may have one; None: not before something else happens."""
        self._sort(now)
        if self._running >= self.pace.limit:
            return None
        first = now if self._ready else self._later[0][0] if self._later else None
        return None if first is None else max(0.0, max(first, self.pace.open_at) - now)

    def again(self, job: Job[K, W], due: float, reason: str, uncertain: bool) -> bool:
        """The job's call is to be made once more, at ``due``. False: nobody wants it any more."""
        self._running -= 1
        job.running = False
        job.reason, job.uncertain = reason, job.uncertain or uncertain
        if job.dropped:
            self._jobs.pop(job.key, None)
            return False
        self._put_off(job, due)
        return True

    def hasten(self, key: K, now: float) -> None:
        """Let a job that waits for a moment of its own wait no longer. Its next call is no try."""
        job = self._jobs.get(key)
        if job is not None and job.later:
            job.hastened = True
            self._put_off(job, now)

    def done(self, job: Job[K, W]) -> None:
        """The job has ended, one way or the other."""
        self._running -= 1
        job.running = False
        self._jobs.pop(job.key, None)

    def _put_off(self, job: Job[K, W], due: float) -> None:
        job.later, job.turn = True, job.turn + 1
        heapq.heappush(self._later, (due, job.order, job.turn, job))

    def _sort(self, now: float) -> None:
        """Bring what is due to the ready ones, and what nobody wants away from the front."""
        while self._later:
            due, order, turn, job = self._later[0]
            is_stale = job.dropped or turn != job.turn
            if due > now and not is_stale:
                break
            heapq.heappop(self._later)
            if not is_stale:
                job.later = False
                heapq.heappush(self._ready, (order, job))
        while self._ready and self._ready[0][1].dropped:
            heapq.heappop(self._ready)
