"""Reads for pages that many may ask for: one at a time, in a thread of its own, with a limit to all patience."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from runtime.api.batching import UnavailableError

Found = TypeVar("Found")
PATIENCE = 5.0
"""Seconds."""


class SharedRead(Generic[Found]):
    """Whoever asks while a read goes on gets its result: a database that hangs costs one thread, not one each."""

    def __init__(self, read: Callable[[], Found]) -> None:
        self._read = read
        self._running: asyncio.Future[Found] | None = None

    async def __call__(self) -> Found:
        """What the read returns or raises; :class:`UnavailableError` where that takes too long. For the event loop."""
        if self._running is None:
            self._running = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._run, args=[self._running], name="api-read", daemon=True).start()
        try:
            return await asyncio.wait_for(asyncio.shield(self._running), PATIENCE)
        except TimeoutError:
            raise UnavailableError(f"no answer within {PATIENCE:g} s") from None

    def _run(self, future: asyncio.Future[Found]) -> None:
        try:
            end = partial(future.set_result, self._read())
        except Exception as error:
            end = partial(_fail, future, error)
        with suppress(RuntimeError):  # the loop may be gone by now
            future.get_loop().call_soon_threadsafe(self._end, end)

    def _end(self, end: Callable[[], None]) -> None:
        self._running = None
        end()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # Whoever asked may have lost patience; that is no error of its own.
