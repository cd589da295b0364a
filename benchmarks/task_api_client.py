"""Child of the benchmarks: the workers of a deployment, as far as the task API sees them.

``python -m benchmarks.task_api_client URL JOB`` keeps 16 connections busy, each with one request at a time. JOB is a
file, ``{"attempts": [[attempt id, start ticket], …], "heartbeats": n}``. Without heartbeats each attempt is started and
finished, which takes ``both`` seconds. Else all are started, then ``n`` heartbeats are sent for them in turn, then all
are finished. Prints the seconds of each phase, by its name. By hand and not with an HTTP library, which would cost more
than the server.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from runtime.core.messages import Finish, Heartbeat, Request, Start, encode
from runtime.core.task_api import TOKEN_HEADER, action_path

CONNECTIONS = 16
_MARK = f"\r\n{TOKEN_HEADER.lower()}: ".encode()
_LENGTH = b"\r\ncontent-length: "
_FINISH = {"outcome": "success"}


class Worker:
    """One attempt's launch."""

    def __init__(self, attempt_id: str, ticket: str) -> None:
        self.attempt_id = attempt_id
        self.token = ticket
        self.nonce = attempt_id[-12:]

    def start(self) -> Request:
        return Start(self.attempt_id, self.nonce, "benchmark", 4242, 99, "boot")

    def heartbeat(self) -> Request:
        return Heartbeat(self.attempt_id, self.nonce)

    def finish(self) -> Request:
        return Finish(self.attempt_id, self.nonce, **_FINISH)


Call = tuple[Worker, Callable[[Worker], Request]]


class Line:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._path = f"{parts.hostname}:{parts.port}", parts.path
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._worker: Worker | None = None

    def send(self, worker: Worker, request: Request) -> None:
        self._worker = worker
        body = encode(request)
        path = action_path(request.attempt_id, request.__struct_config__.tag)  # type: ignore[arg-type]
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {worker.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)

    def receive(self) -> bool:
        """Take what has come; whether the answer is complete. Raises ``ValueError`` for another status than 200."""
        self._received += self.socket.recv(65_536)
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(_after(head, _LENGTH) or 0):
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"{head[:60]!r} {body[:200]!r}")
        if self._worker is not None and (token := _after(head, _MARK)):
            self._worker.token = token.decode()
        self._received = b""
        return True


def _after(head: bytes, mark: bytes) -> bytes:
    place = head.lower().find(mark)
    return b"" if place < 0 else head[place + len(mark) :].partition(b"\r\n")[0]


def run(lines: list[Line], chains: Iterator[list[Call]]) -> float:
    """Make all calls, those of one chain one after the other on one connection; seconds."""
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for line in lines:
            _next(line, deque(), chains, selector)
        while selector.get_map():
            for key, _ in selector.select():
                line, left = key.data
                if line.receive():
                    _next(line, left, chains, selector)
    return time.perf_counter() - began


def _next(line: Line, left: deque[Call], chains: Iterator[list[Call]], selector: selectors.BaseSelector) -> None:
    known = line.socket in selector.get_map()
    if not left:
        left = deque(next(chains, []))
    if not left:
        if known:
            selector.unregister(line.socket)
        return
    worker, make = left.popleft()
    line.send(worker, make(worker))
    (selector.modify if known else selector.register)(line.socket, selectors.EVENT_READ, (line, left))


def main() -> None:
    """Do the job and print."""
    url, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    workers = [Worker(*attempt) for attempt in job["attempts"]]
    lines = [Line(url) for _ in range(CONNECTIONS)]
    if job["heartbeats"] == 0:
        print(json.dumps({"both": run(lines, iter([(w, Worker.start), (w, Worker.finish)] for w in workers))}))
        return
    beats = ([(workers[n % len(workers)], Worker.heartbeat)] for n in range(job["heartbeats"]))
    phases = {"start": iter([(w, Worker.start)] for w in workers), "heartbeats": beats}
    phases["finish"] = iter([(w, Worker.finish)] for w in workers)
    print(json.dumps({name: run(lines, iter(calls)) for name, calls in phases.items()}))


if __name__ == "__main__":
    main()
