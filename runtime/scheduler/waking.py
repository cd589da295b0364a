"""What ends the scheduler's wait: other threads of the process, hints from other processes, and time."""

from __future__ import annotations

import contextlib
import os
import select

from runtime.db.hints import Hints


class Bell:
    """Rung by the task service after a commit that left a report in an inbox; wakes the scheduler."""

    def __init__(self, waker: Waker | None = None) -> None:
        self._waker = waker
        self._rung = True

    def __call__(self) -> None:
        self._rung = True
        if self._waker is not None:
            self._waker()

    def hush(self) -> bool:
        """Whether it was rung since the last time. Asked before the inbox is read: a later ring is never missed."""
        rung, self._rung = self._rung, False
        return rung


class Waker:
    """Lets any thread, and a signal handler, end the scheduler's wait."""

    def __init__(self, hints: Hints | None = None) -> None:
        self._hints = hints
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __call__(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``; return whether a hint came."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        heard = -1 if self._hints is None else self._hints.fileno()
        if heard >= 0:
            poll.register(heard, select.POLLIN)
        ready = dict(poll.poll(max(0.0, seconds) * 1000))
        if self._descriptor in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._descriptor)
        return self._hints is not None and heard in ready and self._hints.drain()

    def close(self) -> None:
        os.close(self._descriptor)
        if self._hints is not None:
            self._hints.close()
