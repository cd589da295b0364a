"""Asks an executor something in a child process.

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
from collections.abc import Callable
from typing import Any, NoReturn

Question = Callable[[], dict[str, Any]]


def ask_in_child(question: Question, deadline: float) -> dict[str, Any] | None:
    """What ``question`` returns, as JSON keeps it; ``None`` where its process ended without an answer.

    Raises ``TimeoutError`` after ``deadline`` seconds.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _answer_and_exit(question, write_end, parent)
    os.close(write_end)
    try:
        data = _read_all(read_end, time.monotonic() + deadline)
    finally:
        os.close(read_end)
        _end(child)
    try:
        answer = json.loads(data)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def told(error: BaseException) -> str:
    """What an executor raised, in one line; its package's own errors are lines already."""
    from executors.errors import ExecutorError

    text = " ".join(str(error).split())[:300]
    kind = "" if isinstance(error, ExecutorError) and text else f"{type(error).__name__}: "
    return f"{kind}{text}".removesuffix(": ")


def _read_all(descriptor: int, deadline: float) -> bytes:
    """Until the other end is closed. Raises ``TimeoutError``."""
    parts: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(descriptor, 65_536)
        if not data:
            return b"".join(parts)
        parts.append(data)
    raise TimeoutError


def _end(child: int) -> None:
    """Kill what may be left of it, processes that it started too."""
    for kill, number in ((os.killpg, child), (os.kill, child)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(number, signal.SIGKILL)
    os.waitpid(child, 0)


def _answer_and_exit(question: Question, output: int, parent: int) -> NoReturn:
    try:
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
