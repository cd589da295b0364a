"""A PostgreSQL server that is killed with all it has in memory, and recovers."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from tests.postgres_server import Server

OPTIONS = {"synchronous_commit": "on", "autovacuum": "on"}
"""What is committed is in the operating system's hands and survives a SIGKILL; ``fsync`` is for power failures."""


class MortalPostgres(Server):
    """As the tests' server, with commits that last."""

    def __init__(self) -> None:
        super().__init__(OPTIONS)

    @property
    def socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children see that and end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def recover(self) -> bool:
        """Start it; false while children of the killed one still hold its memory: ask again."""
        file = self.folder / "data" / "postmaster.pid"
        if _is_attached(file):
            return False
        file.unlink(missing_ok=True)  # the killed one's word that it is ready
        try:
            self.start()
        except RuntimeError:
            self.stop()
            return False
        return True

    def processes(self) -> set[int]:
        """The ids of those that run."""
        with suppress(psutil.NoSuchProcess, AssertionError):
            postmaster = psutil.Process(self.pid)
            return {postmaster.pid, *(child.pid for child in postmaster.children())}
        return set()


def _is_attached(pidfile: Path) -> bool:
    """Whether a process still uses the shared memory that the file names."""
    try:
        identifier = int(pidfile.read_text().split("\n")[6].split()[1])
    except (OSError, IndexError, ValueError):
        return False
    segments = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:])
    return any(int(words[1]) == identifier and int(words[6]) > 0 for words in segments)
