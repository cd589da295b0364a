"""A worker entry for the tests: speaks the channel and does what ``executor_config["do"]`` of each workload says."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executors.local.channel import Channel, ChannelClosedError, Kind


def serve(sock: socket.socket, config: Mapping[str, str]) -> None:
    worker = _Worker(Channel(sock), config)
    try:
        while not worker.stopped:
            worker.obey(*worker.next_frame())
    except ChannelClosedError:
        return


def die_at_once(sock: socket.socket, config: Mapping[str, str]) -> None:
    """An entry that never says a word."""
    os._exit(7)


class _Worker:
    def __init__(self, channel: Channel, config: Mapping[str, str]) -> None:
        self.stopped = False
        self._channel = channel
        self._config = config
        self._frames: list[tuple[Kind, bytes]] = []
        self._files: list[str] = []
        self._attempt = ""

    def next_frame(self, timeout: float | None = None) -> tuple[Kind, bytes]:
        """Wait for a frame, for ``timeout`` milliseconds; then ``TimeoutError``."""
        while not self._frames:
            events = select.POLLIN | (select.POLLOUT if self._channel.wants_write else 0)
            poller = select.poll()
            poller.register(self._channel, events)
            if not poller.poll(timeout):
                raise TimeoutError
            self._channel.flush()
            self._frames += self._channel.receive()
        return self._frames.pop(0)

    def obey(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.STOP:
            self.stopped = True
        elif kind is Kind.ASSIGN:
            workload = json.loads(body)
            self._attempt = workload["key"]["attempt_id"]
            self._files.append(f"{workload['code']['rel_path']}@{workload['code']['file_hash']}")
            orders = workload["executor_config"]
            getattr(self, f"do_{orders.get('do', 'ok')}")(**{k: v for k, v in orders.items() if k != "do"})

    def end(self, *, ok: bool, reason: str = "", **idle: Any) -> None:
        self._send(Kind.ENDED, {"attempt_id": self._attempt, "ok": ok, "reason": reason})
        self._send(Kind.IDLE, {"files": self._files, "rss": 1000, "retire": False, **idle})

    def do_ok(self, **idle: Any) -> None:
        self.end(ok=True, reason=str(os.getpid()), **idle)

    def do_fail(self) -> None:
        self.end(ok=False, reason="it broke")

    def do_config(self) -> None:
        self.end(ok=True, reason=json.dumps(dict(self._config), sort_keys=True))

    def do_descriptors(self) -> None:
        targets = [_target(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
        self.end(ok=True, reason=json.dumps(sorted(target for target in targets if target)))

    def do_retire(self) -> None:
        self.end(ok=True, retire=True)
        self.stopped = True

    def do_exit(self, code: int = 3) -> None:
        os._exit(code)

    def do_signal(self, signum: int) -> None:
        os.kill(os.getpid(), signum)

    def do_garbage(self) -> None:
        self._channel.send(Kind.IDLE, b"not JSON")
        signal.pause()

    def do_call(self, count: int = 1, size: int = 10) -> None:
        answered = 0
        for number in range(count):
            self._channel.send(Kind.CALL, b"%d " % number + b"x" * size)
            kind, body = self.next_frame()
            if kind is Kind.STOP:  # comes right after the ASSIGN where each attempt has its own process
                self.stopped = True
                kind, body = self.next_frame()
            answered += kind is Kind.REPLY and body.startswith(b"answer to %d " % number)
        self.end(ok=answered == count, reason=f"{answered} answers")

    def do_last_call(self) -> None:
        """Ask, and be killed before the answer."""
        self._channel.send(Kind.CALL, b"last words")
        os.kill(os.getpid(), signal.SIGKILL)

    def do_deafen(self, count: int, path: str) -> None:
        """Ask for much and read nothing any more."""
        for number in range(count):
            self._channel.send(Kind.CALL, b"%d" % number)
        Path(path).touch()
        while True:
            signal.pause()

    def do_wait(self, path: str, family: bool = False) -> None:
        """Write this pid (and those of a daemon-like child) to ``path``, then wait until it is removed, or for KILL."""
        pids = [os.getpid()]
        if family:
            pids.append(
                subprocess.Popen([sys.executable, "-c", "input()"], stdin=_silence(), start_new_session=True).pid
            )
        Path(f"{path}.new").write_text(" ".join(map(str, pids)))
        os.rename(f"{path}.new", path)
        while os.path.exists(path):
            try:
                kind, body = self.next_frame(5)
            except TimeoutError:
                continue
            if kind is Kind.STOP:
                self.stopped = True
            elif kind is Kind.KILL and json.loads(body)["attempt_id"] == self._attempt:
                self.end(ok=False, reason="killed")
                return
        self.end(ok=True, reason=str(os.getpid()))

    def _send(self, kind: Kind, body: object) -> None:
        self._channel.send(kind, json.dumps(body).encode())


def _silence() -> int:
    """A pipe that never says anything."""
    return os.pipe()[0]


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
    except FileNotFoundError:
        return ""
