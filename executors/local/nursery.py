"""The executor's side of the zygote: starts it, asks it for workers, hears what became of them. Never blocks.

Except :meth:`Nursery.close`, which waits for the zygote's end.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from executors.local import zygote
from executors.local.zygote import MAX_MESSAGE, MESSAGE, Op

_LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS})
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SETTLED = 60.0
"""Seconds after which a zygote that dies is an accident, not a failed start."""


class Notice(NamedTuple):
    """One message of the zygote."""

    op: Op
    number: int
    value: int
    text: str


class ZygoteGoneError(Exception):
    """The zygote's end of the control socket is closed."""


def describe_status(status: int) -> str:
    """A wait status in words: ``was killed by SIGKILL``, ``exited with code 3``."""
    code = os.waitstatus_to_exitcode(status)
    return describe_exit(code)


def describe_exit(code: int) -> str:
    """An exit code in words; a negative one is a signal."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class Nursery:
    """At most one zygote at a time.

    :param entry: ``module:function`` that each worker runs.
    :param config: handed to the entry.
    """

    def __init__(self, name: str, entry: str, config: Mapping[str, str]) -> None:
        self._setup = {"name": name, "entry": entry, "config": dict(config)}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._requests: deque[tuple[bytes, socket.socket | None]] = deque()
        self._failures = 0
        self._started_at = 0.0
        self._not_before = 0.0
        self._broken: str | None = None
        self.ready = False
        """Whether the zygote has imported the entry and forks."""
        self.trouble: str | None = None
        """Why there is no working zygote; ``None`` where nothing is known to be wrong."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exists(self) -> bool:
        """Whether a zygote was started and its end has not been noticed yet."""
        return self._control is not None

    @property
    def may_start(self) -> bool:
        """Whether there is none and the pause after the last failure is over."""
        return not self.exists and time.monotonic() >= self._not_before

    @property
    def available(self) -> bool:
        """Whether workers may be asked for now."""
        return self.ready and time.monotonic() >= self._not_before

    @property
    def hopeless(self) -> bool:
        """Whether zygotes or workers failed several times in a row to come up."""
        return self._failures >= 3

    def fileno(self) -> int:
        return self._control.fileno() if self._control else -1

    def start(self) -> None:
        """Exec a zygote; it reports READY later. Raises ``OSError`` where that is impossible."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._started_at = time.monotonic()
        self._broken = None
        try:
            with theirs:
                self._process = self._exec(theirs.fileno())
        except OSError as error:
            ours.close()
            self._pause(f"cannot start the zygote: {error}")
            raise
        self._control = ours
        setup = json.dumps({**self._setup, "sys_path": [path or os.getcwd() for path in sys.path]})
        self._requests.appendleft((MESSAGE.pack(Op.SETUP, 0, 0) + setup.encode(), None))
        self.flush()

    def _exec(self, fd: int) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", zygote.__file__, str(fd), str(os.getpid())]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            return subprocess.Popen(argv, pass_fds=(fd,), stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def fork(self, number: int, sock: socket.socket) -> None:
        """Ask for worker ``number`` on ``sock``, closed here once passed on; without a zygote it waits for the next."""
        self._requests.append((MESSAGE.pack(Op.FORK, number, 0), sock))
        self.flush()

    def kill(self, number: int) -> None:
        """Ask for the death of worker ``number``."""
        self._requests.append((MESSAGE.pack(Op.KILL, number, 0), None))
        self.flush()

    @property
    def wants_write(self) -> bool:
        """Whether requests wait until the zygote reads again."""
        return bool(self._requests) and self.exists

    def flush(self) -> None:
        """Send waiting requests as far as the zygote takes them; its end is left to :meth:`receive`."""
        while self._requests and self._control is not None:
            data, passed = self._requests[0]
            try:
                socket.send_fds(self._control, [data], [passed.fileno()] if passed else [])
            except OSError as error:
                if error.errno in _LATER:
                    return
            self._requests.popleft()
            if passed:
                passed.close()

    def receive(self) -> list[Notice]:
        """What the zygote has said since; empty where it said nothing.

        Raises :class:`ZygoteGoneError` where there will be nothing more: call :meth:`mourn` then.
        """
        notices: list[Notice] = []
        while self._control is not None:
            try:
                data = self._control.recv(MAX_MESSAGE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if notices:
                    break
                raise ZygoteGoneError
            notices.append(self._notice(data))
        return notices

    def _notice(self, data: bytes) -> Notice:
        op, number, value = MESSAGE.unpack_from(data)
        notice = Notice(Op(op), number, value, data[MESSAGE.size :].decode(errors="replace"))
        if notice.op is Op.READY:
            self.ready, self.trouble = True, None
        elif notice.op is Op.BROKEN:
            self._broken = notice.text
        return notice

    def mourn(self) -> str:
        """Take leave of a zygote that has gone; return how it ended. Waits for milliseconds, at most two seconds."""
        code = self._reap(1.0)
        self.ready = False
        if time.monotonic() - self._started_at > _SETTLED:
            self._failures = 0
        trouble = self._broken or f"its zygote process {self.pid} {describe_exit(code)}"
        self._pause(trouble)
        return trouble

    def worker_failed_to_come_up(self, trouble: str) -> None:
        """A worker died without a word: pause, so that a broken entry is not forked for as fast as it dies."""
        if time.monotonic() >= self._not_before:
            self._pause(trouble)

    def worker_came_up(self) -> None:
        """A worker spoke: what went wrong before is over."""
        self._failures, self.trouble = 0, None

    def _pause(self, trouble: str) -> None:
        # The first failure is answered at once: the wait is for what fails again and again.
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)) if self._failures else 0.0
        self._failures += 1
        self._not_before = time.monotonic() + pause
        self.trouble = trouble

    def close(self, timeout: float = 5.0) -> None:
        """Make the zygote kill every descendant and leave; kill it after ``timeout`` seconds. Idempotent."""
        if self._process is not None:
            self._reap(timeout)
        self.ready = False

    def _reap(self, timeout: float) -> int:
        """Hang up, wait for the zygote's end and return its exit code."""
        assert self._process is not None
        if self._control is not None:
            self._control.close()
            self._control = None
        for _, passed in self._requests:
            if passed:
                passed.close()
        self._requests.clear()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(1.0)
        return -signal.SIGKILL
