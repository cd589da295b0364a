"""Brings the process of an attempt into the world, as its supervisor's child in a session of its own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from executors.local.channel import Channel, Kind
from runtime.log.attempt_logs import make_folder
from runtime.worker import protocol
from runtime.worker.attempt import Process, live
from runtime.worker.interrupts import Interrupts
from runtime.worker.line import SupervisorLine
from runtime.worker.linux import die_with_parent

_SPAWN_FD = 9
"""Where a fresh interpreter finds its line."""
_HELD_BACK = frozenset({signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Child:
    """A process that waits for its go."""

    pid: int
    pidfd: int
    channel: Channel

    def close(self) -> None:
        """Forget it, once it is reaped."""
        os.close(self.pidfd)
        self.channel.close()


def fork_attempt(process: Process, foreign: Sequence[int], log_folder: str) -> Child:
    """Fork; the child closes the ``foreign`` descriptors and makes its log folder meanwhile. Raises ``OSError``."""
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    # Until the child has put back SIGTERM's default, the supervisor's handler would take the signal and do nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        pid = os.fork()
        if pid == 0:
            _become_attempt(process, supervisor, theirs, [*foreign, ours.detach()], log_folder)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    theirs.close()
    return Child(pid, os.pidfd_open(pid), Channel(ours))


def _become_attempt(
    process: Process, supervisor: int, sock: socket.socket, foreign: Sequence[int], log_folder: str
) -> None:
    try:
        gc.enable()
        os.setsid()
        die_with_parent(supervisor)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        for fd in foreign:
            os.close(fd)
        line = SupervisorLine(Channel(sock), Interrupts())
    except BaseException:
        os._exit(1)
    with suppress(OSError):  # said again, and reported, when the log file is opened
        make_folder(log_folder)
    live(process, line)


def spawn_attempt(process: Process) -> Child:
    """Start a fresh interpreter: nothing is inherited but the environment. Raises ``OSError``."""
    ours, theirs = socket.socketpair()
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "runtime.worker.attempt", str(_SPAWN_FD)],
            _environment(process.attempt_id),
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _SPAWN_FD)],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT),
        )
    channel = Channel(ours)
    setup = protocol.Setup(process.attempt_id, os.getpid(), os.environ.get("PYTHONPATH"), process.settings)
    channel.send(Kind.ASSIGN, protocol.encode(setup))
    return Child(pid, os.pidfd_open(pid), channel)


def _environment(attempt_id: str) -> dict[str, str]:
    """This process's, with its ``sys.path``, which a zygote has from its executor and not from the environment."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": path, "HYBRID_ATTEMPT_ID": attempt_id}
