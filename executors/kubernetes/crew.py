"""Threads that work a backlog off. They start when there is work for them and end at :meth:`Crew.close`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from executors.kubernetes.backlog import Backlog, Job

K = TypeVar("K", bound=Hashable)
W = TypeVar("W")

log = logging.getLogger(__name__)


class Crew(Generic[K, W]):
    """Up to ``size`` daemon threads named ``PREFIX-0`` …; each takes a job, and calls ``work`` with it.

    ``work`` ends the job by :meth:`Backlog.done` or :meth:`Backlog.again`, holding :attr:`changed`, and raises nothing.
    Everything that touches the backlog holds :attr:`changed`, and notifies it where a thread may have work now. Who
    waits for jobs to end waits for :attr:`settled`, under the same lock.
    """

    def __init__(
        self,
        prefix: str,
        size: int,
        backlog: Backlog[K, W],
        work: Callable[[Job[K, W]], None],
        clock: Callable[[], float],
    ) -> None:
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self.settled = threading.Condition(lock)
        self.closed = False
        self._prefix = prefix
        self._size = size
        self._backlog = backlog
        self._work = work
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def awaken(self) -> None:
        """There is one more job. Hold :attr:`changed`."""
        self.changed.notify()
        # Not `if not self._idle`: who has been notified stays idle until the lock is free.
        waiting = len(self._backlog) - self._backlog.running
        if self._idle < waiting and len(self._threads) < self._size and not self.closed:
            name = f"{self._prefix}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout: float) -> bool:
        """Begin no more jobs; wait up to ``timeout`` seconds for the running ones. True: all threads have ended."""
        deadline = time.monotonic() + timeout
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self._work(job)

    def _next(self) -> Job[K, W] | None:
        with self.changed:
            while not self.closed:
                now = self._clock()
                job = self._backlog.begin(now)
                if job is not None:
                    return job
                self._idle += 1
                try:
                    self.changed.wait(self._backlog.wait(now))
                finally:
                    self._idle -= 1
        return None
