"""Child processes of ``standalone``: forked, their output prefixed, their end noticed, signals passed on."""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn

from executors.errors import ExecutorError
from runtime.core.errors import HybridError

_PR_SET_PDEATHSIG = 1
_COLOURS = ("36", "35", "33", "34")


@dataclass
class Child:
    """One forked process. ``code`` is its exit code once it is reaped, negative for a signal."""

    name: str
    pid: int
    pipe: int
    """Its output; -1 after the end of it."""
    prefix: str
    code: int | None = None
    partial: bytes = b""

    @property
    def ending(self) -> str:
        """``ended with exit code 1`` or ``was ended by SIGKILL``."""
        if self.code is not None and self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"


class Family:
    """All children of this process. For a process with one thread: it forks."""

    def __init__(self, *, colours: bool) -> None:
        self.children: list[Child] = []
        self._colours = colours
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._deaf = False

    @property
    def stopping(self) -> bool:
        """A signal came, or nobody reads our output any more."""
        return self._signals > 0 or self._deaf

    @property
    def dead(self) -> list[Child]:
        return [child for child in self.children if child.code is not None]

    def fork(self, name: str, body: Callable[[], int]) -> Child:
        """Run ``body`` in a child that exits with what it returns, 1 where it raises."""
        gc.collect()
        gc.freeze()  # Collections in the child must not write to the pages that it shares.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        read_end, write_end = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(name, body, parent, write_end)
        os.close(write_end)
        os.set_blocking(read_end, False)
        prefix = f"{name:<13} | "
        if self._colours:
            prefix = f"\x1b[{_COLOURS[len(self.children) % len(_COLOURS)]}m{prefix}\x1b[0m"
        child = Child(name, pid, read_end, prefix)
        self.children.append(child)
        self._selector.register(read_end, selectors.EVENT_READ, partial(self._read, child))
        handle = os.pidfd_open(pid)
        self._selector.register(handle, selectors.EVENT_READ, partial(self._reap, child, handle))
        return child

    def catch_signals(self) -> None:
        """From now on SIGTERM and SIGINT are counted, end :meth:`pump`, and are passed on by :meth:`end`."""
        read_end, write_end = os.pipe()
        for descriptor in (read_end, write_end):
            os.set_blocking(descriptor, False)
        self._selector.register(read_end, selectors.EVENT_READ, partial(os.read, read_end, 64))
        signal.set_wakeup_fd(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def wait(self, child: Child) -> int:
        """Print the children's lines until ``child`` has ended; its exit code."""
        while child.code is None:
            self.pump(None)
        return child.code

    def pump(self, timeout: float | None) -> None:
        """Wait for a line, an end or a signal, ``timeout`` seconds at most (``None``: for ever); print, reap."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def end(self, patience: float, *, last: Collection[str] = ()) -> None:
        """Ask all to end, and return when they have; after ``patience`` seconds or a third signal, kill them.

        :param last: names of children that are asked when all others have ended.
        """
        deadline = time.monotonic() + patience
        passed_on = (-1, False)
        while living := [child for child in self.children if child.code is None]:
            killing = self._signals > 2 or time.monotonic() > deadline
            asked = [child for child in living if killing or child.name not in last] or living
            if killing or (self._signals, asked is living) > passed_on:
                passed_on = (self._signals, asked is living)
                _send(asked, signal.SIGKILL if killing else signal.SIGTERM)
            self.pump(max(0.1, deadline - time.monotonic()))

    def say(self, text: str) -> None:
        """Print a line of our own; a reader that went away stops us."""
        if self._deaf:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self._deaf = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _reap(self, child: Child, handle: int) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(child.pid, 0)
        child.code = os.waitstatus_to_exitcode(status)
        self._read(child)

    def _read(self, child: Child) -> None:
        if child.pipe < 0:
            return
        try:
            while data := os.read(child.pipe, 65_536):
                *lines, child.partial = (child.partial + data).split(b"\n")
                for line in lines:
                    self._show(child, line)
        except BlockingIOError:
            return
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        child.pipe = -1
        if child.partial:
            self._show(child, child.partial)

    def _show(self, child: Child, line: bytes) -> None:
        self.say(child.prefix + line.decode(errors="backslashreplace"))


def _send(children: Iterable[Child], number: signal.Signals) -> None:
    for child in children:
        os.kill(child.pid, number)


def _become(name: str, body: Callable[[], int], parent: int, output: int) -> NoReturn:
    """Be the child: a group of its own, so that Ctrl-C reaches only the parent, and an end when the parent ends."""
    code = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _redirect(output)
        _set_title(name)
        code = body()
    except (HybridError, ExecutorError) as error:
        print(f"hybrid: {error}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        # Not sys.exit: the stack below belongs to the parent.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _redirect(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _set_title(name: str) -> None:
    from setproctitle import setproctitle

    setproctitle(f"hybrid {name}")
