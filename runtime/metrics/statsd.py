"""StatsD by UDP, in the line format that Airflow's users have dashboards for: ``prefix.name:value|g``.

A call only appends to a bounded queue; a thread of its own makes datagrams of what has gathered, looks the host up, and
sends without waiting. What cannot be sent is forgotten: figures are not worth holding anything up.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from runtime.metrics.collector import Kind

LONGEST_DATAGRAM = 1_400
"""Bytes: fits an Ethernet frame through a tunnel, so that no router cuts it."""
FLUSH_SECONDS = 0.5
LONGEST_QUEUE = 50_000
"""Figures between two flushes; beyond that the oldest go."""
LOOKUP_PAUSE = 5.0
"""Seconds between two tries to look the host up after one failed, or after sending failed."""
_UNFIT = re.compile(r"[^A-Za-z0-9_.\-]")
"""Colons, bars and at-signs are StatsD's own; spaces and slashes break what reads it."""
Entry = tuple[Kind, str, float]


class StatsD:
    """Pass :meth:`send` to a :class:`~runtime.metrics.collector.Collector`. Never blocks, never raises.

    :param prefix: what each name begins with; may be empty.
    """

    def __init__(self, host: str, port: int, prefix: str = "") -> None:
        self._host, self._port, self._prefix = host, port, prefix
        self._queue: deque[Entry] = deque(maxlen=LONGEST_QUEUE)
        self._stop = threading.Event()
        self._target: tuple[socket.socket, Any] | None = None
        self._look_up_at = 0.0
        self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)
        self._thread.start()

    def send(self, kind: Kind, name: str, value: float) -> None:
        """Queue one figure; timings in milliseconds."""
        self._queue.append((kind, name, value))

    def close(self, timeout: float = 2.0) -> None:
        """Send what is queued, and end the thread; after ``timeout`` seconds, leave it behind. Idempotent."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(FLUSH_SECONDS)
            self._flush()
        self._forget_target()

    def _flush(self) -> None:
        taken = [self._queue.popleft() for _ in range(len(self._queue))]
        target = self._find_target() if taken else None
        if target is None:
            return
        outlet, address = target
        try:
            for datagram in datagrams(lines(taken, self._prefix)):
                outlet.sendto(datagram, address)
        except BlockingIOError:
            return
        except OSError:
            # Also ICMP's "nobody listens there": the name may mean another host by now.
            self._forget_target()
            self._look_up_at = time.monotonic() + LOOKUP_PAUSE

    def _find_target(self) -> tuple[socket.socket, Any] | None:
        """The socket and the address; looked up once, and again after failures."""
        if self._target is None and time.monotonic() >= self._look_up_at:
            try:
                family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[
                    0
                ]
                outlet = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            except (OSError, UnicodeError):
                self._look_up_at = time.monotonic() + LOOKUP_PAUSE
            else:
                self._target = (outlet, address)
        return self._target

    def _forget_target(self) -> None:
        if self._target is not None:
            self._target[0].close()
            self._target = None


def lines(entries: Iterable[Entry], prefix: str) -> list[bytes]:
    """One line a gauge (its last value), one a counter (the sum), one for each timing."""
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    found: list[bytes] = []
    for kind, name, value in entries:
        if kind == "g":
            gauges[name] = value
        elif kind == "c":
            counters[name] = counters.get(name, 0) + value
        else:
            found.append(_line(prefix, name, value, kind))
    found += [_line(prefix, name, value, "c") for name, value in counters.items()]
    for name, value in gauges.items():
        if value < 0:
            # To StatsD a sign means *change by*: a negative gauge is zero, and less from there.
            found.append(_line(prefix, name, 0, "g"))
        found.append(_line(prefix, name, value, "g"))
    return found


def datagrams(entries: Iterable[bytes]) -> Iterator[bytes]:
    """Lines joined by newlines, as many as fit; one that is too long by itself is left out."""
    batch: list[bytes] = []
    size = 0
    for entry in entries:
        if len(entry) > LONGEST_DATAGRAM:
            continue
        if batch and size + len(entry) + 1 > LONGEST_DATAGRAM:
            yield b"\n".join(batch)
            batch, size = [], 0
        size += len(entry) + (1 if batch else 0)
        batch.append(entry)
    if batch:
        yield b"\n".join(batch)


def _line(prefix: str, name: str, value: float, kind: Kind) -> bytes:
    full = _UNFIT.sub("_", f"{prefix}.{name}" if prefix else name)
    number = str(value) if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{full}:{number}|{kind}".encode()
