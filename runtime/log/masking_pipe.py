"""Keeps secrets out of what goes to descriptors 1 and 2 behind Python's back: ``os.system``, subprocesses, C libraries.

From the first secret on the two lead into a pipe, and a process of its own masks what comes out. No thread: a library
that prints while it holds the interpreter lock would wait for it for ever. No child either, but an orphan: a task that
waits for all of its children must not wait for this one. A task that fetches no secret has none of this.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import select
import signal
import warnings
from collections.abc import Callable
from typing import NoReturn

LONGEST = 65_536
"""Bytes without a line end that are kept back."""
PATIENCE = 2.0
"""Seconds at the end for what is still in the pipe, where something that the task left behind holds it open."""


class MaskingPipe:
    """Of one process. ``target``: where its output goes in the end."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._owner = os.getpid()
        self._ends: list[int] = []
        """One descriptor per copying process; at its end when that is."""

    def lead_through(self, pattern: re.Pattern[str]) -> None:
        """Mask with ``pattern`` from now on; what was written before was led through the pattern before. Without a
        process or descriptor to be had, output goes on as it did.
        """
        if os.getpid() != self._owner:
            return
        try:
            self._switch(pattern)
        except OSError:
            return

    def close(self) -> None:
        """Give descriptors 1 and 2 back, and wait until what went through is written."""
        if not self._ends or os.getpid() != self._owner:
            return
        os.dup2(self._target, 1)
        os.dup2(self._target, 2)
        for end in self._ends:
            watch = select.poll()  # select() takes no descriptor from 1024 on
            watch.register(end, select.POLLIN)
            watch.poll(PATIENCE * 1000)
            os.close(end)
        self._ends.clear()

    def _forget_ended(self) -> None:
        """A copying process ends as soon as nothing writes to it any more: keep no descriptor for each of them."""
        watch = select.poll()
        for end in self._ends:
            watch.register(end, select.POLLIN)
        for end, _ in watch.poll(0):
            self._ends.remove(end)
            os.close(end)

    def _switch(self, pattern: re.Pattern[str]) -> None:
        # Written by the fault handler as it is: a crash waits for nobody, and frames hold no values.
        faulthandler.enable(self._target)
        self._forget_ended()
        source, entry = os.pipe()
        end, ended = os.pipe()
        try:
            _orphan(lambda: _copy(source, self._target, pattern), {source, self._target, ended})
            os.dup2(entry, 1)
            os.dup2(entry, 2)
        except OSError:
            os.close(end)
            raise
        finally:
            for descriptor in (source, entry, ended):
                os.close(descriptor)
        self._ends.append(end)


def _orphan(work: Callable[[], None], keep: set[int]) -> None:
    """Run ``work`` in a process whose parent ends at once. Raises ``OSError`` where none is to be had."""
    with warnings.catch_warnings():
        # What it does after the fork takes no lock that another thread may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _begin(work, keep)
    os.waitpid(pid, 0)


def _begin(work: Callable[[], None], keep: set[int]) -> NoReturn:
    try:
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            _close_all_but(keep)
            work()
    finally:
        os._exit(0)


def _close_all_but(keep: set[int]) -> None:
    if 0 not in keep:
        with contextlib.suppress(OSError):
            os.close(0)  # the listing needs one, and there may be none left
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:  # that of the listing itself
                continue


def _copy(source: int, target: int, pattern: re.Pattern[str]) -> None:
    kept = b""
    while data := os.read(source, LONGEST):
        lines, newline, kept = (kept + data).rpartition(b"\n")
        if len(kept) > LONGEST:
            lines, newline, kept = lines + newline, kept, b""
        if newline:
            _write(target, pattern, lines + newline)
    _write(target, pattern, kept)


def _write(target: int, pattern: re.Pattern[str], data: bytes) -> None:
    masked = pattern.sub("***", data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    view = memoryview(masked)
    while view:
        view = view[os.write(target, view) :]
