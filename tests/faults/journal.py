"""What test tasks leave behind about themselves: a line at their start and their end, and a lock as long as they run.

The lock is the witness of overlap. Every process of an attempt, grandchildren in sessions of their own included,
inherits the locked descriptor; the kernel lets go of it when the last of them is dead, however it died. An attempt that
finds its task instance locked was started while something of an older one still ran, and writes ``overlap``.

Standard library only: DAG files import it from their own folder, Bash tasks run it as a script.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """``word`` is start, end, overlap or note; ``at`` is monotonic, in nanoseconds."""

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
    except BlockingIOError:
        write("overlap", name, pid)
        raise
    write("start", name, pid)


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
