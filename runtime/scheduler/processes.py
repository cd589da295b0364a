"""Making sure that nothing of an attempt runs on this host any more, before it is dispatched again.

An attempt's process leads a session of its own; everything that it executed also carries ``HYBRID_ATTEMPT_ID`` in its
environment, which finds descendants that started a session of theirs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MARK = b"HYBRID_ATTEMPT_ID="


@dataclass(frozen=True, slots=True)
class AttemptProcess:
    """What the DB knows of where an attempt runs; ``pid`` is ``None`` where it never started."""

    attempt_id: str
    pid: int | None = None
    pid_started: int | None = None
    boot_id: str | None = None


@cache
def boot_id() -> str:
    """The identity of this boot of this host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of ``pid``; ``None`` where no such process lives: a zombie does not."""
    stat = _stat(pid)
    return None if stat is None or stat[2] in "ZX" else stat[1]


def kill_attempts(attempts: Sequence[AttemptProcess]) -> set[str]:
    """Send SIGKILL to every process of the attempts; return the ids of those that had any.

    Empty means quiet. Otherwise ask again: a killed process may need a moment to go, and may have forked just before.
    """
    wanted = {attempt.attempt_id for attempt in attempts}
    sessions = {attempt.pid: attempt for attempt in attempts if attempt.pid is not None and _leads_its_session(attempt)}
    found: set[str] = set()
    for pid in _pids():
        owner = _owner(pid, wanted, sessions)
        if owner is not None:
            found.add(owner)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return found


def _leads_its_session(attempt: AttemptProcess) -> bool:
    """Whether the session of that number is still the attempt's: a number is not reused while it has members."""
    assert attempt.pid is not None
    started = start_time(attempt.pid)
    return attempt.boot_id == boot_id() and attempt.pid != os.getsid(0) and started in (None, attempt.pid_started)


def _owner(pid: int, wanted: set[str], sessions: dict[int, AttemptProcess]) -> str | None:
    if pid == os.getpid():
        return None
    stat = _stat(pid)
    if stat is None or stat[2] in "ZX":
        return None
    # With ``task_isolation = reuse`` the process is a worker in the zygote's session, and nothing marks it.
    attempt = sessions.get(stat[0]) or sessions.get(pid)
    if attempt is not None:
        return attempt.attempt_id
    marked = _marked(pid)
    return marked if marked in wanted else None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> tuple[int, int, str] | None:
    """(session, start time in ticks, state letter), from ``/proc/PID/stat``; see proc_pid_stat(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[3]), int(fields[19]), fields[0].decode()


def _marked(pid: int) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    start = environment.find(_MARK)
    if start < 0:
        return None
    return environment[start + len(_MARK) :].partition(b"\0")[0].decode(errors="replace")
