"""One watch: a response of the API server that does not end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from executors.kubernetes.connections import shut
from executors.kubernetes.errors import ClusterUnreachableError, status_error, translated

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

Pod: TypeAlias = dict[str, Any]
"""A pod as the API server writes it: camelCase JSON."""


class PodWatch:
    """Iterate over ``(type, object)``: ADDED, MODIFIED, DELETED with a pod, BOOKMARK with a ``resourceVersion``.

    Ends where the server ends it, or :meth:`close` does. Raises :class:`GoneError` and other kinds of
    :class:`ApiError` for an ERROR event, :class:`ClusterUnreachableError` where the connection breaks or is silent.
    """

    def __init__(self, response: BaseHTTPResponse, url: str) -> None:
        self._response = response
        self._socket = getattr(response.connection, "sock", None)
        self._url = url
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[tuple[str, Pod]]:
        for lines in self._chunks():
            for line in lines:
                if line:
                    yield self._event(line)

    def close(self) -> None:
        """From any thread, at any time: whoever waits for the next event is woken. Idempotent."""
        self._closed.set()
        with suppress(Exception):  # it has just ended by itself
            if self._socket is not None:
                shut(self._socket)
            else:  # the server has said that the connection ends with it
                self._response.shutdown()

    def release(self) -> None:
        """Give the connection up; for the thread that iterates."""
        with suppress(Exception):
            self._response.close()

    def _chunks(self) -> Iterator[list[bytes]]:
        """Whole lines, as many as have come."""
        rest = b""
        while not self._closed.is_set():
            try:
                with translated("watch pods", self._url):
                    data = self._response.read1()
            except ClusterUnreachableError:
                if self._closed.is_set():
                    return
                raise
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield lines

    def _event(self, line: bytes) -> tuple[str, Pod]:
        with translated("read an event", self._url):
            event = msgspec.json.decode(line)
            kind, about = event["type"], event["object"]
        if kind == "ERROR":
            raise status_error("watch pods", about)
        return kind, about
