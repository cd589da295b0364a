"""Asks executors something in child processes.

It is somebody else's code, made here without a host: it may raise, hang, print or leave threads and processes behind,
and none of that may reach the command that asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

Question = Callable[[], dict[str, Any]]


Answer = dict[str, Any] | None
"""``None`` where its process ended without an answer."""


def ask_in_child(question: Question, deadline: float) -> Answer:
    """What ``question`` returns, as JSON keeps it; ``None`` where its process ended without an answer.

    Raises ``TimeoutError`` after ``deadline`` seconds.
    """
    answer = ask_side_by_side({"": question}, deadline)[""]
    if isinstance(answer, TimeoutError):
        raise answer
    return answer


def ask_side_by_side(questions: Mapping[str, Question], deadline: float) -> dict[str, Answer | TimeoutError]:
    """As :func:`ask_in_child`, each in a process of its own, all at once: it takes as long as the slowest, ``deadline``
    seconds at most. However it ends, none of the processes is left.
    """
    ends_at = time.monotonic() + deadline
    asked: dict[str, _Asked] = {}
    try:
        for name, question in questions.items():
            asked[name] = _Asked(question, [other.output for other in asked.values()])
        _hear_out(list(asked.values()), ends_at)
        return {name: each.answer() for name, each in asked.items()}
    finally:
        for each in asked.values():
            each.end()


def told(error: BaseException) -> str:
    """What an executor raised, in one line; its package's own errors are lines already."""
    from executors.errors import ExecutorError

    text = " ".join(str(error).split())[:300]
    kind = "" if isinstance(error, ExecutorError) and text else f"{type(error).__name__}: "
    return f"{kind}{text}".removesuffix(": ")


class _Asked:
    """A child that was asked. ``foreign``: pipes of others, which are not its business."""

    def __init__(self, question: Question, foreign: Sequence[int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.output, write_end = os.pipe()
        self._data: list[bytes] = []
        self._is_done = False
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _answer_and_exit(question, write_end, (self.output, *foreign), parent)
        os.close(write_end)

    def hear(self) -> bool:
        """Read what is there; whether that was all."""
        data = os.read(self.output, 65_536)
        self._data.append(data)
        self._is_done = not data
        return self._is_done

    def answer(self) -> Answer | TimeoutError:
        if not self._is_done:
            return TimeoutError()
        try:
            answer = json.loads(b"".join(self._data))
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def end(self) -> None:
        """Kill what may be left of it, processes that it started too."""
        os.close(self.output)
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


def _hear_out(asked: list[_Asked], ends_at: float) -> None:
    """Until all have answered, or it is ``ends_at``."""
    by_output = {each.output: each for each in asked}
    while by_output:
        readable = select.select(list(by_output), [], [], max(0.0, ends_at - time.monotonic()))[0]
        if not readable or time.monotonic() >= ends_at:
            return
        for output in readable:
            if by_output[output].hear():
                del by_output[output]


def _answer_and_exit(question: Question, output: int, foreign: Sequence[int], parent: int) -> NoReturn:
    try:
        for descriptor in foreign:
            os.close(descriptor)
        from runtime.worker.linux import die_with_parent

        os.setpgid(0, 0)
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(2, 1)
        data = json.dumps(question()).encode()
        with open(output, "wb") as pipe:
            pipe.write(data)
    finally:
        # Not sys.exit: the stack below belongs to the parent.
        os._exit(0)
