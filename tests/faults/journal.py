"""What test tasks leave behind about themselves: a line at their start and their end, and a lock as long as they run.

The lock is the witness of overlap. Every process of an attempt, grandchildren in sessions of their own included,
inherits the locked descriptor; the kernel lets go of it when the last of them is dead, however it died. An attempt that
finds its task instance locked was started while something of an older one still ran, and writes ``overlap``; or
``beside``, where the older one is stopped by SIGSTOP, or has been woken within the last second: it runs no more, or
will find out that it must not.

Standard library only: DAG files import it from their own folder, Bash tasks run it as a script.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

GRACE = 1_000_000_000
"""Nanoseconds for which a process that was frozen from outside may run when it wakes (design §10)."""


class Line(NamedTuple):
    """``word`` is start, end, fail, overlap, beside or note; ``at`` is monotonic, in nanoseconds."""

    word: str
    attempt_id: str
    pid: int
    at: int
    name: str


def folder() -> Path:
    return Path(os.environ["HYBRID_HOME"]) / "witness"


def write(word: str, name: str, pid: int | None = None) -> None:
    """Append one line, whole and synced."""
    line = f"{word} {os.environ['HYBRID_ATTEMPT_ID']} {pid or os.getpid()} {time.monotonic_ns()} {name}\n"
    fd = os.open(folder() / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def read(home: Path) -> list[Line]:
    """All lines, in the order of writing."""
    try:
        text = (home / "witness" / "lines").read_text()
    except FileNotFoundError:
        return []
    words = (line.split(maxsplit=4) for line in text.splitlines())
    return [Line(word, attempt_id, int(pid), int(at), name) for word, attempt_id, pid, at, name in words]


def begin(name: str, fd: int, pid: int | None = None) -> None:
    """Lock ``fd`` and write ``start``. Raises ``BlockingIOError`` where an older attempt still runs."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{pid or os.getpid()}".encode(), 0)
    except BlockingIOError:
        if not _is_stopped(fd):
            write("overlap", name, pid)
            raise
        write("beside", name, pid)
    write("start", name, pid)


def note_waking(home: Path, pids: Sequence[int]) -> None:
    """To be called before SIGCONT is sent to them."""
    with (home / "witness" / "woken").open("a") as file:
        file.writelines(f"{pid} {time.monotonic_ns()}\n" for pid in pids)


def _is_stopped(fd: int) -> bool:
    """Whether the holder of the lock is stopped by a signal, or was until a moment ago."""
    try:
        holder = os.pread(fd, 20, 0).decode()
        state = Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[0]
        woken = [line.split() for line in (folder() / "woken").read_text().splitlines()] if state != "T" else []
    except (OSError, IndexError):
        return False
    return state == "T" or any(pid == holder and time.monotonic_ns() - int(at) < GRACE for pid, at in woken)


@contextmanager
def witnessed(name: str) -> Iterator[None]:
    """Around the work of a Python task. ``name`` is the same for all attempts of one task instance."""
    fd = os.open(folder() / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)  # inherited by children unless they close it
    try:
        begin(name, fd)
        yield
        write("end", name)
    finally:
        os.close(fd)  # a worker that is used again must not keep the lock


def busy(seconds: float) -> None:
    """Work of about that length, in small steps."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.005)


if __name__ == "__main__":
    # journal.py start NAME FD PID | journal.py end NAME - PID
    if sys.argv[1] == "start":
        begin(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        write(sys.argv[1], sys.argv[2], int(sys.argv[4]))
