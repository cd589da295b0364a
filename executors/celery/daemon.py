"""A process leaves its terminal, and its parent waits until it is under way."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from executors.errors import ExecutorConfigError, ExecutorError

_UP = b"up"
_LONGEST_LINE = 4096


def detach(log_file: Path, body: Callable[[Callable[[], None]], int]) -> int:
    """Run ``body`` in a session of its own with its output appended to ``log_file``; 0 once it has called its argument.

    Raises :class:`ExecutorError` with what ``body`` raised before. For a process with one thread: it forks.
    """
    try:
        output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ExecutorConfigError(f"the log file {log_file} cannot be written: {error.strerror}") from None
    told, tell = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        os.close(told)
        _leave(output, tell, body)
    os.close(tell)
    os.close(output)
    heard = os.read(told, _LONGEST_LINE)
    os.close(told)
    os.waitpid(child, 0)
    if heard != _UP:
        raise ExecutorError(heard.decode() or f"it did not come up; {log_file} may say why")
    print(f"the worker runs in the background; its log is {log_file}")  # noqa: T201
    return 0


def _leave(output: int, tell: int, body: Callable[[Callable[[], None]], int]) -> NoReturn:
    """Be the grandchild, which no terminal can come back to."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        code = body(lambda: _say(tell, _UP))
    except ExecutorError as error:
        print(f"hybrid: {error}", file=sys.stderr)  # noqa: T201
        _say(tell, str(error).encode()[:_LONGEST_LINE])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _say(tell: int, what: bytes) -> None:
    """The parent hears what is said first, or that the pipe is closed. Nothing is closed here: a second word must not
    end in whatever has the descriptor's number by then.
    """
    with suppress(OSError):
        os.write(tell, what)
