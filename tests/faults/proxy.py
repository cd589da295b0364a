"""A TCP proxy that behaves as badly as a network may: slow, cut, half-open, one-way; and well again.

One thread serves all connections. Each fault is in effect before its call returns, for connections that exist and for
new ones. What a fault other than a cut holds back keeps its order and arrives late, after :meth:`FaultProxy.heal`, the
end of a connection included: a server hears of a client that has left meanwhile when the link is back, and not before.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal, Self

Direction = Literal["to_server", "to_client"]
_BOTH: frozenset[Direction] = frozenset({"to_server", "to_client"})
_CHUNK = 2**16
_MOST_KEPT = 2**20
"""Bytes of one direction; beyond them the sender is no longer read, and its own buffers fill up."""
_RESET = struct.pack("ii", 1, 0)
"""For ``SO_LINGER``: closing sends RST."""
_PATIENCE = 10.0
"""Seconds for the thread to do what it is told."""


class FaultProxy:
    """Listens on a port of its own and connects each client to ``upstream``, which may die and come back.

    A client is reset where the upstream cannot be reached. A fault replaces the one before; latency stays beside it.

    :param upstream: host and port, or the path of a Unix socket.
    """

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self._upstream = upstream
        self._reserved = _bound(0)  # never listens: keeps the port ours while the link is cut
        self.address: tuple[str, int] = self._reserved.getsockname()
        self._selector = selectors.DefaultSelector()
        self._orders: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._links: set[_Link] = set()
        self._passing = _BOTH
        self._latency = 0.0
        self._listener: socket.socket | None = None
        self._ended = False
        self._listen()
        self._thread = threading.Thread(target=self._serve, name=f"fault-proxy-{self.address[1]}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    # -- faults ----------------------------------------------------------------------------------------------------

    def latency(self, seconds: float) -> None:
        """From now on every byte takes so long in each direction."""
        self._order(lambda: setattr(self, "_latency", seconds))

    def cut(self) -> None:
        """Reset every connection, so that what was on its way is lost; refuse new ones."""
        self._order(self._cut)

    def half_open(self) -> None:
        """Nothing passes either way and nobody is told: connections stay, new ones are accepted and hear nothing."""
        self._order(lambda: self._let_pass(frozenset()))

    def one_way(self, direction: Direction) -> None:
        """Only what goes in this direction passes."""
        self._order(lambda: self._let_pass(frozenset({direction})))

    def heal(self) -> None:
        """No fault and no latency any more: what was held back is delivered, and connections that stayed go on."""
        self._order(self._heal)

    def close(self) -> None:
        """Reset every connection and end the thread. Idempotent."""
        if self._ended:
            return
        self._order(self._end)
        self._thread.join()
        for thing in (self._selector, self._reserved, self._woken, self._waker):
            thing.close()

    def _order(self, order: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((order, done))
        self._waker.send(b"!")
        if not done.wait(_PATIENCE):
            raise RuntimeError(f"{self._thread.name} does nothing any more")

    # -- the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(self._pause()):
                key.data()
            now = time.monotonic()
            for link in [link for link in self._links if link.next_due(self._passing) <= now]:
                self._pump(link)

    def _pause(self) -> float | None:
        due = min((link.next_due(self._passing) for link in self._links), default=math.inf)
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _obey(self) -> None:
        self._woken.recv(_CHUNK)
        while not self._orders.empty():
            order, done = self._orders.get()
            order()
            done.set()

    def _cut(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for link in list(self._links):
            self._drop(link)

    def _let_pass(self, directions: frozenset[Direction]) -> None:
        self._passing = directions
        self._listen()
        for link in list(self._links):
            self._pump(link)

    def _heal(self) -> None:
        self._latency = 0.0
        for link in self._links:
            link.hurry()
        self._let_pass(_BOTH)

    def _end(self) -> None:
        self._cut()
        self._ended = True

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.address[1])
            self._listener.listen(128)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):  # the client has gone already
            link = _Link(self._listener.accept()[0], self._upstream)
            self._links.add(link)
            self._pump(link)

    def _pump(self, link: _Link) -> None:
        """Move what may move now, and see to what is waited for."""
        if link not in self._links:
            return
        try:
            wanted = link.pump(self._passing, self._latency)
        except OSError:
            self._drop(link)
            return
        for end, events in wanted.items():
            self._watch(end, events, lambda: self._pump(link))
        if link.is_over:
            self._drop(link)

    def _watch(self, end: socket.socket, events: int, then: Callable[[], None]) -> None:
        known = self._selector.get_map().get(end)
        if known is None and events:
            self._selector.register(end, events, then)
        elif known is not None and not events:
            self._selector.unregister(end)
        elif known is not None and known.events != events:
            self._selector.modify(end, events, known.data)

    def _drop(self, link: _Link) -> None:
        self._links.discard(link)
        for end in (link.client, link.server):
            self._watch(end, 0, lambda: None)
        link.reset()


class _Stream:
    """One direction of a connection: what was read of ``source`` and is not yet written to ``sink``."""

    def __init__(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        self.direction = direction
        self.source = source
        self.sink = sink
        self.chunks: deque[tuple[float, bytes]] = deque()
        """When each may arrive, in seconds of ``time.monotonic()``; the empty one is the end."""
        self.size = 0
        self.is_blocked = False
        """The sink takes nothing now."""
        self.has_ended = False
        self.is_over = False

    @property
    def is_hungry(self) -> bool:
        return not self.has_ended and self.size < _MOST_KEPT

    def read(self, latency: float) -> None:
        while self.is_hungry:
            try:
                data = self.source.recv(_CHUNK)
            except BlockingIOError:
                return
            self.chunks.append((time.monotonic() + latency, data))
            self.size += len(data)
            self.has_ended = not data

    def write(self) -> None:
        self.is_blocked = False
        while self.chunks and self.chunks[0][0] <= time.monotonic():
            due, data = self.chunks.popleft()
            if not data:
                self.sink.shutdown(socket.SHUT_WR)
                self.is_over = True
                return
            sent = 0
            with contextlib.suppress(BlockingIOError):
                sent = self.sink.send(data)
            self.size -= sent
            if sent < len(data):
                self.chunks.appendleft((due, data[sent:]))
                self.is_blocked = True
                return


class _Link:
    """One client's connection, and the one to the upstream that belongs to it: made once anything may pass."""

    def __init__(self, client: socket.socket, upstream: tuple[str, int] | str) -> None:
        self.client = client
        self.server = socket.socket(socket.AF_UNIX if isinstance(upstream, str) else socket.AF_INET)
        self._upstream = upstream
        self._has_begun = False
        for end in (self.client, self.server):
            end.setblocking(False)
            if end.family == socket.AF_INET:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams = (_Stream("to_server", client, self.server), _Stream("to_client", self.server, client))

    @property
    def is_over(self) -> bool:
        return all(stream.is_over for stream in self._streams)

    def next_due(self, passing: frozenset[Direction]) -> float:
        """When bytes may arrive next, in seconds of ``time.monotonic()``."""
        ready = (s.chunks[0][0] for s in self._streams if s.chunks and not s.is_blocked and s.direction in passing)
        return min(ready, default=math.inf)

    def hurry(self) -> None:
        for stream in self._streams:
            stream.chunks = deque((0.0, data) for _, data in stream.chunks)

    def pump(self, passing: frozenset[Direction], latency: float) -> dict[socket.socket, int]:
        """Move what may move; return the events that each end is to be watched for. Raises ``OSError``."""
        wanted = {self.client: 0, self.server: 0}
        if passing and not self._has_begun:
            self._has_begun = True
            with contextlib.suppress(BlockingIOError):  # under way; a refusal is what the first read or write meets
                self.server.connect(self._upstream)
        for stream in self._streams:
            if stream.direction in passing:
                stream.read(latency)
                stream.write()
                wanted[stream.source] |= selectors.EVENT_READ * stream.is_hungry
                wanted[stream.sink] |= selectors.EVENT_WRITE * stream.is_blocked
        return wanted

    def reset(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()


def _bound(port: int) -> socket.socket:
    """Bound to 127.0.0.1 beside another one that is bound and does not listen."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    made.bind(("127.0.0.1", port))
    return made
