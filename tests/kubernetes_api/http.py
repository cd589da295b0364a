"""HTTP/1.1 for a server in one event loop: requests in, whole answers or chunked streams out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

JSON = "application/json"
_TURNS = 3
"""Of the event loop, in which a connection that was taken is given to its server."""
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One request: header names are in lower case, of a parameter that comes twice the last one counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(slots=True)
class Response:
    """A whole answer; ``body`` becomes JSON unless it is bytes."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


class Hangup(Exception):  # noqa: N818
    """A handler raises it to close the connection without an answer."""


Handler = Callable[[Request, "Connection"], Awaitable["Response | None"]]
"""Returns the answer, or ``None`` once it has streamed one by itself."""


class Connection(asyncio.Protocol):
    """One client's connection. Requests on it are handled one after the other."""

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        self._lost.set()
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # what a handler calls

    @property
    def open(self) -> bool:
        return self._transport is not None

    def begin_stream(self, content_type: str = JSON) -> None:
        """The head of an answer of unknown length; :meth:`send` and :meth:`end_stream` follow."""
        self._write(_head(200, content_type, {"Transfer-Encoding": "chunked"}))

    def send(self, data: bytes) -> None:
        """One chunk."""
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self._write(b"0\r\n\r\n")

    async def drained(self) -> None:
        """Until the client has read enough of what was sent."""
        await self._writable.wait()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def finished(self) -> None:
        """Until it is closed, and nothing handles a request of it."""
        await self._lost.wait()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _next(self) -> None:
        if self._task is not None:
            return
        try:
            request = _take_request(self._buffer)
        except ValueError:
            self.abort()
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._handler(request, self)
        except Hangup:
            self.abort()
            return
        except asyncio.CancelledError:
            return
        except Exception as error:
            context = {"message": f"the fake failed on {request.method} {request.path}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            response = Response(500, {"kind": "Status", "status": "Failure", "message": repr(error), "code": 500})
        if response is not None:
            body = response.encoded()
            head = _head(response.status, response.content_type, {"Content-Length": str(len(body)), **response.headers})
            self._write(head + body)
        self._task = None
        if request.headers.get("connection", "").lower() == "close" and self._transport is not None:
            self._transport.close()
        else:
            self._next()


def _head(status: int, content_type: str, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _take_request(buffer: bytearray) -> Request | None:
    """Take the first request out of the buffer; ``None`` until it is whole. Raises ``ValueError`` on nonsense."""
    end = buffer.find(_END_OF_HEAD)
    if end < 0:
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    begin = end + len(_END_OF_HEAD)
    length = int(headers.get("content-length", "0"))
    if len(buffer) < begin + length:
        return None
    body = bytes(buffer[begin : begin + length])
    del buffer[: begin + length]
    split = urlsplit(target)
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    return Request(method, unquote(split.path), query, headers, body)


class Listener:
    """A port of the loopback interface that can be closed, and opened again under the same number."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self.port = 0

    async def open(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            make = lambda: Connection(self._handler, self.connections)  # noqa: E731
            self._server = await loop.create_server(make, "127.0.0.1", self.port, backlog=1024, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Nothing listens, and every connection is broken. Idempotent."""
        if self._server is not None:
            server, self._server = self._server, None
            # asyncio loses connections that it has taken, and not yet given to a server that closes: first no more
            # are taken, then those that were are given to it.
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            server.close()
        connections = list(self.connections)
        self.break_connections()
        for connection in connections:
            await connection.finished()

    def break_connections(self) -> None:
        for connection in list(self.connections):
            connection.abort()
