"""Requests of many connections, answered together: while one batch is in the database the next one gathers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy.exc import OperationalError

log = logging.getLogger(__name__)

LARGEST_BATCH = 200
"""Requests in one transaction: more would make the first of them wait for the last."""
GATHER = 0.002
"""Seconds between two batches at least: a transaction costs the same for one request as for ten. Who comes after a
pause is not kept waiting."""
MOST_WAITING = 2_000
"""Requests; what comes beyond is told to come again."""


class UnavailableError(Exception):
    """Nothing was done, ask again; the text says why."""


class _Waiting(NamedTuple):
    data: bytes
    future: asyncio.Future[bytes]


class Batcher:
    """A thread that owns the writing side of the database, and the queue to it.

    :param answer: a batch in, its answers out, in order; raises ``OperationalError`` while the DB is not to be had.
    :param afterwards: called in the thread when the answers of a batch are on their way.
    :param duty: called in the thread every ``every`` seconds, as long as batches end.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[bytes]], list[bytes]],
        *,
        afterwards: Callable[[], None],
        duty: Callable[[], None],
        every: float,
    ) -> None:
        self._answer = answer
        self._afterwards = afterwards
        self._duty = duty
        self._every = every
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="api-database", daemon=True)

    @property
    def waiting(self) -> int:
        """Requests that no batch has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Answer what waits and end; whether the thread has ended within ``seconds``."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    async def __call__(self, data: bytes) -> bytes:
        """The answer to one request. Raises :class:`UnavailableError`. For the event loop."""
        waiting = _Waiting(data, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._stopping or len(self._waiting) >= MOST_WAITING:
                raise UnavailableError("the server stops" if self._stopping else "too many requests are waiting")
            self._waiting.append(waiting)
            self._changed.notify()
        return await waiting.future

    def _run(self) -> None:
        next_duty = time.monotonic() + self._every
        while True:
            batch = self._take(next_duty)
            if batch:
                _deliver(batch, *self._judge(batch))
                _call(self._afterwards)
                time.sleep(GATHER)
            elif self._stopping:
                return
            if time.monotonic() >= next_duty:
                _call(self._duty)
                next_duty = time.monotonic() + self._every

    def _take(self, until: float) -> list[_Waiting]:
        """The next batch; empty when it is ``until`` or time to end."""
        with self._changed:
            while not self._waiting and not self._stopping and (seconds := until - time.monotonic()) > 0:
                self._changed.wait(seconds)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_BATCH))]

    def _judge(self, batch: Sequence[_Waiting]) -> tuple[list[bytes], Exception | None]:
        try:
            return self._answer([waiting.data for waiting in batch]), None
        except OperationalError as error:
            log.warning("the metadata DB is not to be had: %s", str(error.orig).strip())
            return [], UnavailableError("the metadata database is not to be had")
        except Exception as error:
            log.exception("a batch of %d requests failed", len(batch))
            return [], error


def _call(callback: Callable[[], None]) -> None:
    """Whatever it raises: without this thread no worker would get an answer."""
    try:
        callback()
    except Exception:
        log.exception("the database thread goes on after an error")


def _deliver(batch: Sequence[_Waiting], answers: Sequence[bytes], error: Exception | None) -> None:
    """Give the event loop the answers, or all of them the error; a loop that is gone wants neither."""

    def hand_over() -> None:
        for position, waiting in enumerate(batch):
            if waiting.future.done():
                continue
            if error is not None:
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(answers[position])

    with suppress(RuntimeError):
        batch[0].future.get_loop().call_soon_threadsafe(hand_over)
