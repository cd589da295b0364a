"""The task API as a small threaded server in front of the real task service, with faults to order."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime.core import messages as m
from runtime.core.task_api import PREFIX, TOKEN_HEADER
from runtime.tokens.tokens import RUN, START, InvalidTokenError, Tokens, WrongScopeError

Service = Callable[[Sequence[bytes]], list[bytes]]


class Fault(Enum):
    """What happens to a request instead of being answered."""

    DROP = auto()
    """It is carried out; the connection ends instead of the answer."""
    LOSE = auto()
    """The connection ends before it is carried out."""
    HANG = auto()
    """It is carried out; nothing is said for longer than anybody waits."""
    SLOW = auto()
    """It is carried out; the answer comes when the test releases it."""
    ERROR = auto()
    """500."""
    BUSY = auto()
    """429."""
    FORBIDDEN = auto()
    """403, with a detail."""
    FOREIGN = auto()
    """404 of something that is no task API."""
    NONSENSE = auto()
    """200, and no reply."""
    OVER = auto()
    """410: the attempt is over."""
    REPLACED = auto()
    """409: another launch has it."""


@dataclass
class Seen:
    """One request, as it came."""

    action: str
    headers: dict[str, str] = field(repr=False)
    request: m.Request | None
    connection: int
    """Port of its other end."""


class FaultyApi:
    """``url`` ends in ``/execution/v1``. ``seen`` holds all requests; ``plan`` the faults of those to come."""

    def __init__(self, service: Service, tokens: Tokens) -> None:
        self.service = service
        self.tokens = tokens
        self.seen: list[Seen] = []
        self.token_seen: list[str] = []
        self.released = threading.Event()
        self.statuses: list[tuple[str, int]] = []
        self.closing: set[str] = set()
        self._plan: dict[str, list[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"

    # -- what tests order

    def up(self) -> FaultyApi:
        self._server = _Server(("127.0.0.1", self.port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="faulty API")
        self._thread.start()
        return self

    def down(self) -> None:
        """Refuse connections, and end those that are open."""
        if self._server is None or self._thread is None:
            return
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()
        self._server = self._thread = None
        self.released.clear()

    def fail(self, action: str, *faults: Fault) -> None:
        """The next requests of ``action`` meet these, one each."""
        self._plan.setdefault(action, []).extend(faults)

    def fail_always(self, action: str, fault: Fault | None) -> None:
        """Every request of ``action`` meets this, until it is ``None`` again."""
        if fault is None:
            self._always.pop(action, None)
        else:
            self._always[action] = fault

    def close_after(self, action: str) -> None:
        """Close the connection after the next answer to ``action``, without a word about it."""
        self.closing.add(action)

    def count(self, action: str) -> int:
        return sum(seen.action == action for seen in self.seen)

    def wait_count(self, action: str, number: int) -> None:
        """Until so many requests of ``action`` have come."""
        eventually(lambda: self.count(action) >= number)

    def requests(self, action: str) -> list[m.Request]:
        return [seen.request for seen in self.seen if seen.action == action and seen.request is not None]

    # -- what a request meets

    def take(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            planned = self._plan.get(seen.action)
            return planned.pop(0) if planned else self._always.get(seen.action)

    def answer(self, action: str, attempt_id: str, header: str, body: bytes) -> tuple[int, bytes, str]:
        """(status, body, running token or nothing)."""
        try:
            claims = self.tokens.check(header.removeprefix("Bearer "), START if action == "start" else RUN)
        except InvalidTokenError as error:
            return 401, _detail(str(error)), ""
        except WrongScopeError as error:
            return 403, _detail(str(error)), ""
        request = m.decode_request(body)
        if claims.subject != attempt_id or request.attempt_id != attempt_id:
            return 403, _detail("the token belongs to another attempt"), ""
        with self._lock:
            data = self.service([body])[0]
        status = _status(m.decode_reply(data))
        token = ""
        if status == 200 and action in ("start", "heartbeat"):
            token = self.tokens.running_token(attempt_id, request.nonce)
        return status, data, token


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], api: FaultyApi) -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:  # type: ignore[no-untyped-def]
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """A client that went away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_POST(self) -> None:
        api = self.server.api
        body = self.rfile.read(int(self.headers["Content-Length"]))
        *_, attempt_id, action = self.path.split("/")
        assert self.path == f"{PREFIX}/attempts/{attempt_id}/{action}", self.path
        header = self.headers["Authorization"]
        api.token_seen.append(header.removeprefix("Bearer "))
        fault = api.take(Seen(action, dict(self.headers), m.decode_request(body), self.client_address[1]))
        if fault is Fault.LOSE:
            self.close_connection = True
            return
        if fault in _INSTEAD:
            self._say(*_INSTEAD[fault])
            return
        answer = api.answer(action, attempt_id, header, body)
        if fault in (Fault.HANG, Fault.SLOW):
            api.released.wait(60)
        if fault in (Fault.DROP, Fault.HANG):
            self.close_connection = True
            return
        self._say(*answer)
        if action in api.closing:
            api.closing.discard(action)
            self.close_connection = True

    def _say(self, status: int, body: bytes, token: str = "") -> None:
        self.server.api.statuses.append((self.path.rsplit("/", 1)[1], status))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if token:
            self.send_header(TOKEN_HEADER, token)
        self.end_headers()
        self.wfile.write(body)


def _detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()


def _status(reply: m.Reply) -> int:
    if isinstance(reply, m.HeartbeatReply):
        return 200 if reply.go_on else 410 if reply.gone else 409
    if isinstance(reply, m.XComValues):
        return 409 if reply.reason else 200
    yes = reply.granted if isinstance(reply, m.Started) else reply.accepted
    return 200 if yes else 409


_INSTEAD = {
    Fault.ERROR: (500, _detail("the database is away")),
    Fault.BUSY: (429, _detail("too many requests")),
    Fault.FORBIDDEN: (403, _detail("not for you")),
    Fault.FOREIGN: (404, b"<h1>Not Found</h1>"),
    Fault.NONSENSE: (200, b"<h1>Welcome</h1>"),
    Fault.OVER: (410, m.encode(m.HeartbeatReply(False, "cleared by hand", gone=True))),
    Fault.REPLACED: (409, m.encode(m.HeartbeatReply(False, "another launch has it"))),
}


def eventually(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    """Wait for something that no descriptor tells of."""
    deadline, pause = time.monotonic() + seconds, select.poll()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s"
        pause.poll(5)
