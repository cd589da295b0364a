"""What a worker runs where the host names no entry of its own: the workload's command, as a child process.

So a LocalExecutor is complete without a runtime around it, as the contract promises (``command`` is always enough).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from executors.local.channel import Channel, ChannelClosedError, Kind
from executors.local.nursery import describe_exit
from executors.local.zygote import die_with_parent
from executors.workload import Workload

KILL_SECONDS = 5.0
"""Between TERM and KILL for a revoked command."""


def serve(sock: socket.socket, config: Mapping[str, str]) -> None:
    """Run one command after the other, until told to stop or the executor is gone."""
    worker = CommandWorker(Channel(sock))
    try:
        worker.run()
    except ChannelClosedError:
        worker.kill(signal.SIGKILL)


class CommandWorker:
    """At most one command at a time, in a session of its own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._attempt = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._kill_at = float("inf")
        self._stopping = False

    def run(self) -> None:
        """Return after STOP, with nothing running. Raises :class:`ChannelClosedError` when the executor is gone."""
        while not (self._stopping and self._process is None):
            ready = self._wait()
            if self._channel.fileno() in ready:
                for kind, body in self._channel.receive():
                    self._obey(kind, body)
            if self._pidfd in ready:
                self._finish()
            elif time.monotonic() >= self._kill_at:
                self.kill(signal.SIGKILL)

    def kill(self, signum: int) -> None:
        """Signal the command and what it started in its group; a no-op where none runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)

    def _wait(self) -> set[int]:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        if self._process is not None:
            poller.register(self._pidfd, select.POLLIN)
        timeout = None if self._kill_at == float("inf") else max(0.0, self._kill_at - time.monotonic()) * 1000
        return {fd for fd, _ in poller.poll(timeout)}

    def _obey(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.ASSIGN:
            self._start(Workload.from_json(body))
        elif kind is Kind.STOP:
            self._stopping = True
        elif kind is Kind.KILL and self._process and msgspec.json.decode(body)["attempt_id"] == self._attempt:
            self.kill(signal.SIGTERM)
            self._kill_at = time.monotonic() + KILL_SECONDS

    def _start(self, workload: Workload) -> None:
        parent = os.getpid()
        self._attempt = workload.key.attempt_id

        def prepare() -> None:
            die_with_parent(parent, signal.SIGKILL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        try:
            self._process = subprocess.Popen(
                workload.command,
                env={**os.environ, **workload.env},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509  this process has one thread only
            )
        except OSError as error:
            self._report(ok=False, reason=f"cannot run {workload.command[0]}: {error.strerror}")
            return
        self._pidfd = os.pidfd_open(self._process.pid)

    def _finish(self) -> None:
        assert self._process is not None
        self.kill(signal.SIGKILL)  # before the reaping: the group's id is ours for as long as its leader is a zombie
        code = self._process.wait()
        os.close(self._pidfd)
        self._process, self._pidfd, self._kill_at = None, -1, float("inf")
        self._report(ok=code == 0, reason=f"the command {describe_exit(code)}")

    def _report(self, *, ok: bool, reason: str) -> None:
        ended = {"attempt_id": self._attempt, "ok": ok, "reason": reason}
        self._channel.send(Kind.ENDED, msgspec.json.encode(ended))
        self._channel.send(Kind.IDLE, b"{}")
