"""Request bodies, read within limits: of one, of all together, and of time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive

from runtime.api.batching import UnavailableError
from runtime.core.task_api import MAX_BODY

MOST_HELD = 4 * MAX_BODY
"""Bytes of all bodies in memory; what comes beyond is told to come again."""
BODY_SECONDS = 30.0
"""For a body to arrive."""


class TooLargeError(Exception):
    """A body of more than ``MAX_BODY`` bytes."""


class Bodies:
    """Counts the bytes that are held."""

    def __init__(self) -> None:
        self.held = 0

    @contextmanager
    def room(self) -> Iterator[Room]:
        """For one request, from the first byte of its body until its answer is known."""
        room = Room(self)
        try:
            yield room
        finally:
            self.held -= room.taken


class Room:
    """What one request holds."""

    def __init__(self, bodies: Bodies) -> None:
        self.taken = 0
        self._bodies = bodies

    async def read(self, receive: Receive) -> bytes:
        """The whole body. Raises :class:`TooLargeError`, :class:`UnavailableError` (late, gone, no room)."""
        chunks: list[bytes] = []
        more = True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise UnavailableError("the client went away")
                    chunks.append(self._take(message.get("body", b"")))
                    more = message.get("more_body", False)
        except TimeoutError:
            raise UnavailableError(f"the body did not arrive within {BODY_SECONDS:g} s") from None
        return b"".join(chunks)

    def _take(self, chunk: bytes) -> bytes:
        self.taken += len(chunk)
        self._bodies.held += len(chunk)
        if self.taken > MAX_BODY:
            raise TooLargeError
        if self._bodies.held > MOST_HELD:
            raise UnavailableError("too many large bodies at once")
        return chunk
