"""A :class:`~runtime.worker.remote.RemoteWorker` in a process of its own, for hosts that are large, such as Celery.

Each attempt is a fork, and what a fork costs grows with the memory of who forks: from within a Celery worker it cost
twice as much. So a fresh interpreter, which holds nothing but what attempts need, supervises and forks; the host sends
it one attempt after the other over a socket. It dies with the host, and the attempt with it. This is the host's side;
:mod:`runtime.worker.remote_main` is the process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from runtime.core.errors import ConfigError
from runtime.worker.linux import set_dumpable
from runtime.worker.settings import read_settings

DESCRIPTOR = 9
"""Where the process finds its socket."""
LONGEST = 65_536
"""Bytes of one message; a ticket has some hundred."""


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """The first message."""

    host_pid: int
    config: dict[str, str]
    pythonpath: str | None
    """What ``PYTHONPATH`` shall be for user code; the process itself is started with another one."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run an attempt; the answer is :class:`Ended`."""

    attempt_id: str
    ticket: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop the one that runs."""

    reason: str
    kill: bool


class Ended(msgspec.Struct, frozen=True):
    """What :meth:`RemoteWorker.run` returned, or the text of the ``OSError`` that it raised."""

    ok: bool
    reason: str
    error: str | None = None


_ended = msgspec.json.Decoder(Ended)


def start_worker(config: Mapping[str, str]) -> WorkerProcess:
    """For :attr:`executors.context.ExecutorContext.remote_worker_entry`. Raises ``ConfigError``, ``OSError``."""
    read_settings(config)
    if not config.get("task_api_url"):
        raise ConfigError("worker: option task_api_url is not set")
    return WorkerProcess(config)


class WorkerProcess:
    """One per process of the host. Blocks no signal: :meth:`stop` is called by handlers.

    A process that died is replaced when the next attempt comes.
    """

    _pid = 0
    """Of the process; 0 where there is none."""
    _socket: socket.socket

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = dict(config)
        self._asked = False
        self._early: list[Stop] = []
        """Stops that came while it had not been asked to run anything."""
        self._begin()
        set_dumpable(False)

    def run(self, attempt_id: str, ticket: str) -> tuple[bool, str]:
        """As :meth:`RemoteWorker.run`. Raises ``OSError`` also where it was stopped before anything had begun, and
        where what supervised it has died.
        """
        if self._early:
            self._early.clear()
            raise InterruptedError("it was stopped before it began")
        try:
            answer = self._ask(Run(attempt_id, ticket))
        finally:
            self._asked = False
        if answer is None:
            from runtime.worker.supervisor import describe_death  # and with it all that only the process itself needs

            # Had it begun, another start is refused; had it not, nobody else would run it soon.
            raise ConnectionError(f"the process that supervised it {describe_death(self._bury())}")
        if answer.error is not None:
            raise OSError(answer.error)
        return answer.ok, answer.reason

    def stop(self, reason: str, *, kill: bool = False) -> None:
        """As :meth:`RemoteWorker.stop`."""
        order = Stop(reason, kill)
        if self._asked:
            self._pass_on(order)
        else:
            self._early.append(order)

    def _ask(self, order: Run) -> Ended | None:
        """``None`` where the process died: nobody knows whether it had begun."""
        if not self._pid:
            self._begin()
        try:
            self._socket.send(msgspec.json.encode(order))
        except OSError:
            self._bury()  # it died while nothing ran
            self._begin()
            self._socket.send(msgspec.json.encode(order))
        # In this order: a stop that comes in between is passed on by whoever sees the other's mark.
        self._asked = True
        while self._early:
            self._pass_on(self._early.pop(0))
        try:
            answer = self._socket.recv(LONGEST)
        except ConnectionError:
            return None
        return _ended.decode(answer) if answer else None

    def _pass_on(self, order: Stop) -> None:
        with suppress(OSError):
            self._socket.send(msgspec.json.encode(order), socket.MSG_DONTWAIT)

    def _bury(self) -> int:
        """Kill and reap it; its exit code, negative for a signal."""
        pid, self._pid = self._pid, 0
        self._socket.close()
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _begin(self) -> None:
        """Start one. Raises ``OSError``; then there is none, and the next attempt tries again."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._socket = ours
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "runtime.worker.remote_main"],
                {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), DESCRIPTOR)],
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGQUIT),
            )
        ours.send(msgspec.json.encode(Setup(os.getpid(), self._config, os.environ.get("PYTHONPATH"))))
