"""Sends everything that user code says to its attempt's log file: logging, ``print``, file descriptors 1 and 2.

Each line is handed to the kernel when it is complete: nothing sits in a buffer that a SIGKILL could take away. A chunk
of many lines is one ``write``.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime.log.attempt_logs import open_append
from runtime.secrets.masking import masker

if TYPE_CHECKING:
    from runtime.log.masking_pipe import MaskingPipe

LONGEST_PARTIAL = 65_536
"""Characters without a line end that are kept back; beyond it a line is broken."""


class AttemptLog:
    """Made once per worker, opened in each attempt's process.

    :param spare: a descriptor for logs whose file cannot be written; by default there is none.
    """

    def __init__(self, level: str = "INFO", spare: int | None = None) -> None:
        self._fd = 2
        self._spare = spare
        self._second: tuple[int, str] = (0, "")
        self._pipe: MaskingPipe | None = None
        self._level = level
        self._handler = _Handler(self)
        self._streams = (LineStream(self, "INFO", 1), LineStream(self, "ERROR", 2))

    def install(self) -> None:
        """Take over ``sys.stdout``, ``sys.stderr`` and logging. Before :meth:`open`, what they get goes to stderr."""
        sys.stdout, sys.stderr = self._streams
        root = logging.getLogger()
        root.handlers = [self._handler]
        root.setLevel(self._level)
        logging.captureWarnings(True)
        faulthandler.enable(2)

    def open(self, path: str) -> None:
        """Send everything to ``path``, and descriptors 1 and 2 with it. Raises ``OSError``."""
        self._send_to(open_append(path))

    def open_spare(self) -> bool:
        """Send everything to the spare descriptor instead; false where there is none."""
        if self._spare is not None:
            self._send_to(os.dup(self._spare))
        return self._spare is not None

    def say(self, text: str) -> None:
        """A line of the runtime's own. Not by :mod:`logging`: its first use costs a forked process 100 page copies."""
        self.write(time.time_ns(), "INFO", "attempt", text.split("\n"))

    def drain(self) -> None:
        """Wait, not for long, until what others wrote to descriptors 1 and 2 is in the log."""
        masker.on_change = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def close(self) -> None:
        """Write what has no line end yet and forget the file; descriptors 1 and 2 keep it until the next one."""
        for stream in self._streams:
            stream.flush_all()
        self.drain()
        os.close(self._fd)
        self._fd = 2

    def flush(self) -> None:
        """Write what has no line end yet."""
        for stream in self._streams:
            stream.flush_all()

    def write(self, at: int, level: str, where: str, lines: Sequence[str]) -> None:
        """Append lines with one stamp (nanoseconds), masked. Never raises: a full disk must not fail the task."""
        if masker.pattern is not None:
            lines = masker.text("\n".join(lines)).split("\n")
        head = f"[{self._stamp(at)}] {{{where}}} {level} - "
        data = head + f"\n{head}".join(lines) + "\n"
        _write_all(self._fd, _encode(data))

    def _send_to(self, descriptor: int) -> None:
        self._fd = descriptor
        os.dup2(self._fd, 1)
        os.dup2(self._fd, 2)
        masker.on_change = self._mask_output
        if masker.pattern is not None:
            self._mask_output(masker.pattern)

    def _mask_output(self, pattern: re.Pattern[str]) -> None:
        """There is a new secret: mask what goes to descriptors 1 and 2 by other ways than ours."""
        if self._pipe is None:
            from runtime.log.masking_pipe import MaskingPipe

            self._pipe = MaskingPipe(self._fd)
        self._pipe.lead_through(pattern)

    def _stamp(self, at: int) -> str:
        second, rest = divmod(at, 1_000_000_000)
        known = self._second
        if known[0] != second:
            known = self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{known[1]}.{rest // 1000:06d}Z"


class LineStream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of a task: whole lines, each with the place that printed it.

    What a thread has not ended with a newline is kept apart for that thread, so lines of two threads never mix.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, log: AttemptLog, level: str, fd: int) -> None:
        self._log = log
        self._level = level
        self._descriptor = fd
        self._partial: dict[int, str] = {}

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread = threading.get_ident()
        partial = self._partial.pop(thread, "") + text
        if "\n" in text or len(partial) > LONGEST_PARTIAL:
            *lines, partial = partial.split("\n")
            where = _caller()
            if len(partial) > LONGEST_PARTIAL:
                line, partial = _cut(partial)
                lines = [*lines, line]
            self._log.write(time.time_ns(), self._level, where, lines)
        if partial:
            self._partial[thread] = partial
        return len(text)

    def flush(self) -> None:
        """What may be the beginning of a secret is kept back: the rest of it may come with the next write."""
        thread = threading.get_ident()
        text, kept = _cut(self._partial.get(thread, ""))
        if kept:
            self._partial[thread] = text
        self._flush(thread, _caller())
        if kept:
            self._partial[thread] = kept

    def flush_all(self) -> None:
        """Write the unfinished lines of all threads."""
        for thread in list(self._partial):
            self._flush(thread, "unfinished line")

    def _flush(self, thread: int, where: str) -> None:
        partial = self._partial.pop(thread, "")
        if partial:
            self._log.write(time.time_ns(), self._level, where, [partial])

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    @property
    def buffer(self) -> io.FileIO:
        """For bytes: unbuffered, written as they are."""
        return io.FileIO(self._descriptor, "w", closefd=False)


class _Handler(logging.Handler):
    """Formats records as the lines of an attempt log."""

    def __init__(self, log: AttemptLog) -> None:
        super().__init__()
        self._log = log
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self._lines(record)
        except Exception:
            self.handleError(record)
            return
        where = f"{record.filename}:{record.lineno}"
        self._log.write(int(record.created * 1_000_000) * 1000, record.levelname, where, lines)

    def _lines(self, record: logging.LogRecord) -> list[str]:
        text = record.getMessage()
        extra: list[Any] = [text]
        if record.exc_info and record.exc_info[0] is not None:
            extra.append(self._formatter.formatException(record.exc_info))
        if record.stack_info:
            extra.append(record.stack_info)
        return "\n".join(extra).split("\n")


def _cut(text: str) -> tuple[str, str]:
    """What can be written now, and what may be the beginning of a secret."""
    kept = masker.held_back(text)
    return (text[:-kept], text[-kept:]) if kept else (text, "")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return text.encode(errors="backslashreplace")


def _caller() -> str:
    """The line that called ``write`` or ``flush``; nobody where the interpreter itself does, at its end."""
    try:
        frame = sys._getframe(2)
    except ValueError:
        return "interpreter"
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError:
            return
