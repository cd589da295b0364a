"""What is known of a process by its number."""

from __future__ import annotations

import os
import subprocess
import sys

from runtime.scheduler.processes import start_time


def test_a_process_that_lives_has_a_start_time() -> None:
    assert isinstance(start_time(os.getpid()), int)


def test_one_that_nobody_has_reaped_yet_is_dead() -> None:
    """A killed scheduler whose parent takes its time must be taken over all the same."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")
    assert start_time(process.pid) is None
    process.wait()
    assert start_time(process.pid) is None
