"""Turns SIGTERM and the ``execution_timeout`` into an exception in the main thread of user code, and only there."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from runtime.authoring.exceptions import TaskTimeout

log = logging.getLogger(__name__)
_TIMEOUT = "its execution_timeout"


class TaskKilled(BaseException):
    """The attempt was told to stop. Not an ``Exception``: an ``except Exception`` around a loop must not outlive it."""


class Interrupts:
    """One per attempt. ``on_kill`` is called before the exception is raised, because unwinding may wait for exactly the
    process that ``on_kill`` ends (``with Popen(…)``).
    """

    def __init__(self) -> None:
        self.operator: Any = None
        """Whose ``on_kill`` is called; ``None`` until it executes."""
        self._armed = False
        self._limit = 0.0
        self._what = _TIMEOUT
        self._held = False
        self._pending: BaseException | None = None

    def arm(self, limit: float | None, what: str = _TIMEOUT) -> None:
        """From now on SIGTERM raises :class:`TaskKilled`, and after ``limit`` seconds comes ``TaskTimeout``.

        :param what: what the limit is called.
        """
        self._armed, self._limit, self._what = True, limit or 0.0, what
        signal.signal(signal.SIGTERM, self._on_term)
        if limit:
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, limit)

    def disarm(self) -> None:
        """Signals do nothing any more."""
        self._armed = False
        if self._limit:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def undisturbed(self, action: Callable[[], None]) -> None:
        """Run ``action`` to its end: an exception halfway through a frame would garble the stream."""
        self._held = True
        try:
            action()
        finally:
            self._held = False
        pending, self._pending = self._pending, None
        if pending is not None:
            raise pending

    def interrupt(self, error: BaseException) -> None:
        """Call ``on_kill`` and raise ``error`` in the code that runs now, if it is user code."""
        if not self._armed:
            return
        log.warning("%s", error)
        try:
            if self.operator is not None:
                self.operator.on_kill()
        except Exception:
            log.exception("on_kill failed")
        if self._held:
            self._pending = error
        else:
            raise error

    def _overdue_text(self) -> str:
        return f"ran longer than {self._what} of {self._limit:g} s"

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.interrupt(TaskKilled("the attempt got SIGTERM"))

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        self.interrupt(TaskTimeout(self._overdue_text()))
