"""A :class:`~runtime.worker.remote.RemoteWorker` in a process of its own, for hosts that are large, such as Celery.

Each attempt is a fork, and what a fork costs grows with the memory of who forks: from within a Celery worker it cost
twice as much. So a fresh interpreter, which holds nothing but what attempts need, supervises and forks; the host sends
it one attempt after the other over a socket. It dies with the host, and the attempt with it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

import msgspec

from runtime.core.errors import ConfigError
from runtime.worker.linux import die_with_parent, set_dumpable
from runtime.worker.remote import RemoteWorker, open_worker
from runtime.worker.settings import read_settings
from runtime.worker.supervisor import describe_death

_DESCRIPTOR = 9
"""Where the process finds its socket."""
_LONGEST = 65_536
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


_order = msgspec.json.Decoder(Setup | Run | Stop)
_ended = msgspec.json.Decoder(Ended)


# -- the host's side


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
            answer = self._socket.recv(_LONGEST)
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
        return describe_death(os.waitstatus_to_exitcode(status))

    def _start(self) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "runtime.worker.remote_process"],
                {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _DESCRIPTOR)],
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGQUIT),
            )
        ours.send(msgspec.json.encode(Setup(os.getpid(), self._config)))
        return pid, ours


# -- the process


class _Line:
    """Its end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.worker: RemoteWorker | None = None

    def next(self) -> Setup | Run | Stop:
        """Wait for it. Raises ``SystemExit`` where the host is gone."""
        data = self._socket.recv(_LONGEST)
        if not data:
            raise SystemExit(0)
        order: Setup | Run | Stop = _order.decode(data)
        return order

    def answer(self, ended: Ended) -> None:
        self._socket.send(msgspec.json.encode(ended))

    def fileno(self) -> int:
        return self._socket.fileno()

    def hear(self) -> None:
        """While an attempt runs: there is something to read."""
        order = self.next()
        if isinstance(order, Stop) and self.worker is not None:
            self.worker.stop(order.reason, kill=order.kill)


def main() -> NoReturn:
    """The fresh interpreter."""
    sock = socket.socket(fileno=_DESCRIPTOR)
    os.set_inheritable(_DESCRIPTOR, False)
    line = _Line(sock)
    setup = line.next()
    assert isinstance(setup, Setup)
    die_with_parent(setup.host_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's affair
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=setup.config.get("log_level", "INFO"),
    )
    _set_title("hybrid remote-worker")
    worker = line.worker = open_worker(setup.config, line.fileno(), line.hear)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop("its worker was stopped"))
    while True:
        order = line.next()
        if isinstance(order, Run):  # a stop that comes now was for the one before
            line.answer(_run(worker, order))


def _run(worker: RemoteWorker, order: Run) -> Ended:
    try:
        return Ended(*worker.run(order.attempt_id, order.ticket))
    except OSError as error:
        return Ended(False, "", str(error))


def _set_title(title: str) -> None:
    with suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)


if __name__ == "__main__":
    main()
