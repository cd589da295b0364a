"""One forked child per file. The file's code may loop, exit, crash, print, fork or leave threads: the answer is one."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import re
import resource
import signal
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import Generic, NoReturn, TypeVar

import msgspec

from runtime.authoring.lifeline import lifeline
from runtime.core.specs import ParsedFile, decode_file, encode
from runtime.processing.parse import ImportTimeLimitError

MAX_ANSWER = 64 * 2**20
"""Bytes of JSON for one file: about 400,000 tasks."""
GRACE = 2.0
"""Seconds after the time limit in which the child may still say where it hangs; then it is killed."""
Answer = TypeVar("Answer")
_LENGTH = struct.Struct("!Q")
_CHUNK = 1_048_576


class Child(ABC, Generic[Answer]):
    """A running child; :meth:`poll` it until it answers. Never blocks for longer than a reap."""

    def __init__(
        self, rel_path: str, job: Callable[[], bytes], time_limit: float, now: float, *, afterwards: float = 0.0
    ) -> None:
        """Fork. Raises :class:`OSError` where no process can be had.

        :param job: what the child does with the file; what it returns is the answer, encoded.
        :param time_limit: seconds; 0 for no limit.
        :param now: monotonic seconds.
        :param afterwards: seconds more that it gets once the file is imported; then the job ends the clock itself.
        """
        self.rel_path = rel_path
        self._time_limit = time_limit
        self._deadline = now + time_limit + GRACE + afterwards if time_limit else float("inf")
        self._received = bytearray()
        self._ended = False
        self._last_words = ""
        self._crash = os.memfd_create("hybrid-parse")
        self._pipe, write_end = os.pipe()
        os.set_blocking(self._pipe, False)
        attach = lifeline()
        try:
            self._pid = os.fork()
        except OSError:
            for fd in (self._crash, self._pipe, write_end):
                os.close(fd)
            raise
        if self._pid == 0:
            _run_child(attach, write_end, self._crash, job, time_limit)
        os.close(write_end)

    @property
    def handle(self) -> int | None:
        """File descriptor that is readable when there is a reason to :meth:`poll`; ``None`` where time must tell.

        The file's code may close the pipe and run on: at its end the pipe would be readable for ever.
        """
        return None if self._ended else self._pipe

    def poll(self, now: float) -> Answer | None:
        """The answer, or what happened instead of one; ``None`` while the child works. Once it answers, it is gone."""
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self._read()
        answer = self._answer()
        if answer is None and ended is None and now < self._deadline and len(self._received) <= MAX_ANSWER:
            return None
        status = self.kill()
        if answer is not None:
            return answer
        if ended is None and now >= self._deadline:
            return self._failed(self._place() + time_limit_text(self._time_limit))
        return self._failed(self._place() + _verdict(status))

    def kill(self) -> int:
        """Kill the child and everything in its process group, reap it; its wait status."""
        for send in (os.killpg, os.kill):  # the group first: it is found only while its leader is not reaped
            try:
                send(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        _, status = os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._last_words = os.pread(self._crash, 65_536, 0).decode("utf-8", "replace")
        os.close(self._crash)
        return status

    def _place(self) -> str:
        """``line 3: `` where the interpreter could still write down where it was."""
        frame = re.search(rf'File ".*/{re.escape(self.rel_path)}", line (\d+) in ', self._last_words)
        return f"line {frame[1]}: " if frame else ""

    def _read(self) -> None:
        while len(self._received) <= MAX_ANSWER:
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._ended = True
                return
            self._received += data

    def _answer(self) -> Answer | None:
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if len(self._received) < _LENGTH.size + length:
            return None
        try:
            return self._decode(bytes(self._received[_LENGTH.size : _LENGTH.size + length]))
        except msgspec.DecodeError as error:
            return self._failed(f"the parsing process answered with something else: {error}")

    @abstractmethod
    def _decode(self, data: bytes) -> Answer:
        """Raises ``msgspec.DecodeError`` where ``data`` is no answer."""

    @abstractmethod
    def _failed(self, reason: str) -> Answer:
        """What to answer where the child could not."""


class ParseChild(Child[ParsedFile]):
    """Parses one file."""

    def __init__(self, rel_path: str, job: Callable[[], ParsedFile], time_limit: float, now: float) -> None:
        super().__init__(rel_path, lambda: _encoded(job()), time_limit, now)

    def _decode(self, data: bytes) -> ParsedFile:
        return decode_file(data)

    def _failed(self, reason: str) -> ParsedFile:
        return ParsedFile(rel_path=self.rel_path, file_hash="", error=reason)


def time_limit_text(seconds: float) -> str:
    return (
        f"importing the file takes longer than {seconds:g} s ([core] dagbag_import_timeout); "
        "move slow work from its top level into tasks"
    )


def _verdict(status: int) -> str:
    """What to say of a child that ended without an answer."""
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        reason = "out of memory?" if name == "SIGKILL" else "a library that the file imports crashed the interpreter"
        return f"importing the file was ended by {name}: {reason}"
    code = os.WEXITSTATUS(status)
    return (
        f"importing the file ended the process (exit code {code}) without an answer; "
        "remove the call of os._exit, or whatever closes files that it did not open"
    )


def _run_child(
    attach: Callable[[], None], pipe: int, crash: int, job: Callable[[], bytes], time_limit: float
) -> NoReturn:
    """The child's whole life; leaves by ``os._exit``, whatever threads or exit handlers there are."""
    me = os.getpid()
    try:
        attach()
        os.setsid()
        _settle(time_limit)
        faulthandler.enable(crash, all_threads=False)
        if time_limit:  # where no Python code runs, no signal handler does; this one is C
            faulthandler.dump_traceback_later(time_limit + GRACE / 2, file=crash)
        answer = job()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if os.getpid() == me:  # and not a copy that the file's own fork() made
            _send(pipe, answer)
    finally:
        os._exit(0 if os.getpid() == me else 1)


def _settle(time_limit: float) -> None:
    """Default signals, no core file, no output, no log, and a clock that interrupts the file's code."""
    gc.freeze()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115  as long as the process
    sys.stdout = sys.stderr = open(1, "w", closefd=False, encoding="utf-8", errors="replace")  # noqa: SIM115
    for logger in (logging.root, logging.getLogger("runtime")):
        logger.handlers.clear()

    def strike(number: int, frame: FrameType | None) -> None:
        raise ImportTimeLimitError(time_limit_text(time_limit))

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, time_limit, 0.5)  # again: a bare except may swallow the first


def _encoded(parsed: ParsedFile) -> bytes:
    data = encode(parsed)
    if len(data) > MAX_ANSWER - _LENGTH.size:
        reason = f"its DAGs take {len(data) / 2**20:.0f} MB as data; the limit is {MAX_ANSWER / 2**20:.0f} MB per file"
        data = encode(ParsedFile(rel_path=parsed.rel_path, file_hash=parsed.file_hash, error=reason))
    return data


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(pipe, view) :]
