"""A :class:`~runtime.worker.reporter.Reporter` over HTTP: one thread asks, the supervisor's loop hears the answers."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from runtime.core.messages import Request, decode_reply, encode
from runtime.worker.linux import boottime
from runtime.worker.loop import Loop
from runtime.worker.reporter import Answer, RawAnswer, refusal

if TYPE_CHECKING:
    from runtime.worker.api_client import ApiClient, Told

_REPEAT = 1.0
"""Seconds until what user code asked is asked again."""
_PARTING_SECONDS = 1.0


class _Call(NamedTuple):
    request: Request
    deliver: Callable[[bytes | None], None]
    repeat_until: float
    """A moment of ``CLOCK_BOOTTIME``."""


class HttpReporter:
    """Its thread starts with the first request, so that a child can be forked before it.

    :param connect: makes the client; called by the thread, for importing :mod:`http.client` takes its time.
    :param loop: where answers are heard.
    :param patience: seconds that what user code asked is repeated while nothing is known; then it is told why. Longer
        than a supervisor endures the same silence: an API that is away must not become a failure of the task's own.
    :param say: takes a line about an API that does not answer, or does again; called by the thread.
    """

    def __init__(
        self, connect: Callable[[], ApiClient], loop: Loop, *, patience: float, say: Callable[[str], None]
    ) -> None:
        self._connect = connect
        self._loop = loop
        self._patience = patience
        self._say = say
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._later: deque[tuple[float, _Call]] = deque()
        self._answers: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._silent = False
        loop.watch(self._bell, self._hear)

    def fileno(self) -> int:
        """What a forked child must close."""
        return self._bell

    def send(self, request: Request, answer: Answer) -> None:
        """See :meth:`Reporter.send`."""
        self._put(_Call(request, lambda body: answer(None if body is None else decode_reply(body)), 0.0))

    def relay(self, request: Request, answer: RawAnswer) -> None:
        """See :meth:`Reporter.relay`."""

        def deliver(body: bytes | None) -> None:
            assert body is not None
            answer(body)

        self._put(_Call(request, deliver, boottime() + self._patience))

    def close(self) -> bool:
        """End the thread, and return whether it has. One that waits for the API is left behind, as a daemon."""
        self._loop.unwatch(self._bell)
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join(_PARTING_SECONDS)
        if self._thread is not None and self._thread.is_alive():
            return False
        os.close(self._bell)
        return True

    def _put(self, call: _Call) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="task API", daemon=True)
            self._thread.start()
        self._calls.put(call)

    def _hear(self) -> None:
        os.eventfd_read(self._bell)
        while self._answers:
            self._answers.popleft()()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        client = self._connect()
        while (call := self._next()) is not None:
            self._take(call, client.ask(call.request))
        client.leave()

    def _next(self) -> _Call | None:
        """What is due, in order; waits for it. ``None``: no more."""
        while True:
            wait = self._later[0][0] - boottime() if self._later else None
            if wait is not None and wait <= 0:
                return self._later.popleft()[1]
            try:
                return self._calls.get(timeout=wait)
            except Empty:
                continue

    def _take(self, call: _Call, told: Told) -> None:
        self._judge(told)
        body = told.reply
        if body is None and call.repeat_until:
            due = boottime() + _REPEAT
            if due < call.repeat_until:
                self._later.append((due, call))
                return
            body = encode(refusal(call.request, f"no answer for {self._patience:g} s: {told.problem}"))
        self._answers.append(lambda: call.deliver(body))
        os.eventfd_write(self._bell, 1)

    def _judge(self, told: Told) -> None:
        silent = bool(told.problem)
        if silent and not self._silent:
            self._say(f"the task API gives no answer: {told.problem}; trying again")
        elif self._silent and not silent:
            self._say("the task API answers again")
        self._silent = silent
