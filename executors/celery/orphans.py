"""What an attempt left behind when the pool's process that ran it was killed: its daemons end at the worker itself."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on descendants whose parent dies become children of this process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans() -> None:
    """SIGKILL those of this process's children that are in other sessions, and reap them.

    Each attempt has a session of its own; what this process starts itself stays in its session.
    """
    own = os.getsid(0)
    for pid in _children():
        with suppress(ProcessLookupError, ChildProcessError):
            if os.getsid(pid) != own:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def _children() -> list[int]:
    """Where the kernel tells (``CONFIG_PROC_CHILDREN``, which is in every distribution's)."""
    pid = os.getpid()
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
