"""The file by which ``hybrid celery stop`` finds a worker. Its lock says whether it lives: a pid may be anybody's.

A POSIX lock, which no forked child inherits.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from executors.errors import ExecutorConfigError


class PidFile:
    """Held by one process until it releases it or is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self) -> None:
        """Lock it and write this process's pid. Raises :class:`ExecutorConfigError` where another one lives."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ExecutorConfigError(f"the pid file {self._path} cannot be written: {error.strerror}") from None
        if not _lock(descriptor):
            os.close(descriptor)
            raise ExecutorConfigError(
                f"a worker runs already: pid {_read(self._path)}, by {self._path}; give another one its own --pid FILE"
            )
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove it."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)


def living_pid(path: Path) -> int | None:
    """The pid of the worker that holds the file; ``None`` where nobody does. Raises ``OSError`` other than absence."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(descriptor) else _read(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
