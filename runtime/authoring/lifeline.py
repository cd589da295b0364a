"""Children that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def lifeline() -> Callable[[], None]:
    """A function to call first thing in a child of this process: the kernel then SIGKILLs the child when we die.

    Made before the fork, for a child must not import or load anything on the way.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def attach() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return attach
