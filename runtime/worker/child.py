"""Brings the process of an attempt into the world, as its supervisor's child in a session of its own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from executors.local.channel import Channel, Kind
from runtime.worker import protocol
from runtime.worker.attempt import Process, live
from runtime.worker.interrupts import Interrupts
from runtime.worker.line import SupervisorLine
from runtime.worker.linux import die_with_parent, kill_group, started_ticks

_SPAWN_FD = 9
"""Where a fresh interpreter finds its line."""
_GC_THRESHOLD = 20_000
"""Net allocations between two young collections in an attempt's process. Python's 700 come within the first millisecond
of every attempt: a fifth of its whole cost was that collection, and the pages that it wrote to."""
_HELD_BACK = frozenset({signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Child:
    """A process that waits for its go."""

    pid: int
    pidfd: int
    started: int
    """Its start time; see :func:`~runtime.worker.linux.started_ticks`."""
    channel: Channel

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to it alone, if it still lives."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signum)

    def kill(self) -> None:
        """SIGKILL it and its group."""
        self.signal(signal.SIGKILL)
        kill_group(self.pid)

    def reap(self) -> int:
        """Wait for its end and return its exit code, negative for a signal. What is left of its group is killed first,
        while the zombie keeps the group's id ours.
        """
        kill_group(self.pid)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.channel.close()
        return os.waitstatus_to_exitcode(status)


def fork_child(process: Process, foreign: Sequence[int], prelude: Callable[[], None] | None = None) -> Child:
    """Fork; the child closes the ``foreign`` descriptors and calls ``prelude``. Raises ``OSError``."""
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    # Until the child has put back SIGTERM's default, the supervisor's handler would take the signal and do nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        pid = os.fork()
        if pid == 0:
            _become_attempt(process, supervisor, theirs, [*foreign, ours.detach()], prelude)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    theirs.close()
    return _watched(pid, Channel(ours))


def _watched(pid: int, channel: Channel) -> Child:
    return Child(pid, os.pidfd_open(pid), started_ticks(pid), channel)


def _become_attempt(
    process: Process,
    supervisor: int,
    sock: socket.socket,
    foreign: Sequence[int],
    prelude: Callable[[], None] | None,
) -> None:
    try:
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
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
        if prelude is not None:
            prelude()
    except BaseException:
        os._exit(1)
    live(process, line)


def spawn_child(process: Process, attempt_id: str) -> Child:
    """Start a fresh interpreter: nothing is inherited but the environment. Raises ``OSError``."""
    ours, theirs = socket.socketpair()
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "runtime.worker.attempt", str(_SPAWN_FD)],
            _environment(attempt_id),
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _SPAWN_FD)],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT),
        )
    channel = Channel(ours)
    setup = protocol.Setup(os.getpid(), os.environ.get("PYTHONPATH"), process.settings)
    channel.send(Kind.ASSIGN, protocol.encode(setup))
    return _watched(pid, channel)


def _environment(attempt_id: str) -> dict[str, str]:
    """This process's, with its ``sys.path``, which a zygote has from its executor and not from the environment."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": path, "HYBRID_ATTEMPT_ID": attempt_id}
