"""Copies the log of an attempt to another descriptor while it is being written, as ``tail -f`` does."""

from __future__ import annotations

import os
import select
import stat
import threading
from contextlib import suppress

PAUSE = 0.1
"""Seconds between two looks at the file."""
CHUNK = 65_536
"""Bytes held at once."""
PATIENCE = 10.0


class Follower:
    """In a thread of its own: whoever reads the copy may be slow, or not read at all, and nobody else waits for that.

    :param path: a plain file, which may appear later; it is not followed through a symbolic link.
    :param output: where the copy goes; nobody has to listen there.
    """

    def __init__(self, path: str, output: int = 1) -> None:
        self.copied = 0
        """Bytes."""
        self._path = path
        self._output = output
        self._file: int | None = None
        self._offset = 0
        self._complete = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log copy", daemon=True)

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def finish(self, patience: float = PATIENCE) -> bool:
        """The file is complete: wait until all of it is copied; true where it is.

        Given up when for ``patience`` seconds nothing was taken. The thread that is stuck is a daemon.
        """
        self._complete.set()
        before = -1
        while self._thread.is_alive() and before != self.copied:
            before = self.copied
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        complete = False
        with suppress(OSError):  # nobody listens any more
            while not complete:
                complete = self._complete.wait(PAUSE)
                self._copy()
        if self._file is not None:
            os.close(self._file)

    def _copy(self) -> None:
        """What has come since the last time."""
        if self._file is None:
            self._file = _open(self._path)
        while self._file is not None and (data := os.pread(self._file, CHUNK, self._offset)):
            self._offset += len(data)
            self._write(data)
        if self._file is not None and os.fstat(self._file).st_size < self._offset:
            self._offset = 0  # the task has emptied its log

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._output, view)
            except BlockingIOError:
                _wait_for_room(self._output)
                continue
            self.copied += written
            view = view[written:]


def _open(path: str) -> int | None:
    """``None`` where there is no such plain file, or not yet."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    return None


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
