"""What the contract's tasks do. Run by path, with the standard library only: ``deeds.py DEED FOLDER``.

A deed notes the processes that it consists of in ``FOLDER/pids``, one a line.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

FLOOD = 4 * 2**20
"""Characters on each of the two streams."""
LONGEST = 600.0
"""Seconds after which one that waits gives up: nobody should have to kill it."""


def note(folder: Path, *pids: int) -> None:
    """Leave the pids there, all at once."""
    draft = folder / f".pids.{os.getpid()}"
    draft.write_text("".join(f"{pid}\n" for pid in pids))
    draft.replace(folder / "pids")


def succeed(folder: Path) -> None:
    note(folder, os.getpid())


def fail(folder: Path) -> None:
    note(folder, os.getpid())
    raise RuntimeError("this task fails on purpose")


def die(folder: Path) -> None:
    """As the kernel's out-of-memory killer has it."""
    note(folder, os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def flood(folder: Path) -> None:
    """More than any pipe or socket buffers."""
    note(folder, os.getpid())
    line = "x" * 1023 + "\n"
    for stream in (sys.stdout, sys.stderr):
        for _ in range(FLOOD // len(line)):
            stream.write(line)
        stream.flush()


def wait(folder: Path) -> None:
    """With a child process, until there is a file ``FOLDER/go``."""
    child = subprocess.Popen(["/bin/sleep", str(LONGEST)], stdin=subprocess.DEVNULL)
    note(folder, os.getpid(), child.pid)
    deadline = time.monotonic() + LONGEST
    while not (folder / "go").exists() and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    child.kill()
    child.wait()


def stubborn(folder: Path) -> None:
    """As :func:`wait`, deaf to SIGTERM and SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    wait(folder)


DEEDS = {deed.__name__: deed for deed in (succeed, fail, die, flood, wait, stubborn)}

if __name__ == "__main__":
    DEEDS[sys.argv[1]](Path(sys.argv[2]))
