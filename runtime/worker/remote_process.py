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
    """One per process of the host. Blocks no signal: :meth:`stop` is called by handlers."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = dict(config)
        self._pid, self._socket = self._start()
        set_dumpable(False)

    def run(self, attempt_id: str, ticket: str) -> tuple[bool, str]:
        """As :meth:`RemoteWorker.run`."""
        answer = self._ask(Run(attempt_id, ticket))
        if answer is None:
            death = self._replace()
            return False, f"the process that supervised it {death}"
        if answer.error is not None:
            raise OSError(answer.error)
        return answer.ok, answer.reason

    def stop(self, reason: str, *, kill: bool = False) -> None:
        """As :meth:`RemoteWorker.stop`."""
        with suppress(OSError):
            self._socket.send(msgspec.json.encode(Stop(reason, kill)), socket.MSG_DONTWAIT)

    def _ask(self, order: Run) -> Ended | None:
        """``None`` where the process died: nobody knows whether it had begun."""
        try:
            self._socket.send(msgspec.json.encode(order))
        except OSError:
            self._replace()  # it died while nothing ran
            self._socket.send(msgspec.json.encode(order))
        try:
            answer = self._socket.recv(LONGEST)
        except ConnectionError:
            return None
        return _ended.decode(answer) if answer else None

    def _replace(self) -> str:
        """Reap it and start another one; how it ended."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._pid, self._socket = self._start()
        from runtime.worker.supervisor import describe_death  # and with it all that only the process itself needs

        return describe_death(os.waitstatus_to_exitcode(status))

    def _start(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "runtime.worker.remote_main"],
                {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), DESCRIPTOR)],
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGQUIT),
            )
        ours.send(msgspec.json.encode(Setup(os.getpid(), self._config)))
        return pid, ours
