"""A log server in this process, on a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.logserver.client import fetch_log
from runtime.logserver.server import LogServer
from runtime.tokens.tokens import Tokens

PATH = "dag_id=d/run_id=manual__2026-01-01T00:00:00+00:00/task_id=t/attempt=1.log"
TEXT = "[2026-01-01] first\nsecond ü\n".encode()


@dataclass(frozen=True)
class Served:
    """What a test needs of a running server."""

    server: LogServer
    folder: Path
    tokens: Tokens
    port: int

    @property
    def token(self) -> str:
        return self.tokens.log_token(PATH)

    def fetch(self, path: str = PATH, **options: int) -> bytes:
        return fetch_log("127.0.0.1", self.port, path, self.tokens.log_token(path), **options)

    def ask(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)

    def get(self, target: str, *, token: str | None = None, method: str = "GET", header: str = "") -> tuple[int, bytes]:
        """Status and body for a request target as it stands."""
        head = f"Authorization: Bearer {token}\r\n" if token else header
        answer = self.ask(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "logs"
    (folder / PATH).parent.mkdir(parents=True)
    (folder / PATH).write_bytes(TEXT)
    listener = socket.create_server(("127.0.0.1", 0))
    tokens = Tokens(b"k" * 64)
    before = set(threading.enumerate())
    with LogServer(listener, folder, tokens) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="log server")
        thread.start()
        yield Served(server, folder, tokens, listener.getsockname()[1])
        server.shutdown()
        thread.join()
    for reader in set(threading.enumerate()) - before:
        reader.join(20)
        assert not reader.is_alive(), "a reader's thread is left"


@pytest.fixture
def wait() -> Callable[[Callable[[], object]], None]:
    """Wait for a condition, with a deadline."""

    def until(condition: Callable[[], object]) -> None:
        pause = threading.Event()
        for _ in range(2_000):
            if condition():
                return
            pause.wait(0.01)
        pytest.fail("not within 20 s")

    return until
