"""What an executor has to say of an attempt's log, asked in a child process.

It is somebody else's code, made here without a host and without ``start()``: it may raise, hang, print or leave threads
behind, and none of that may reach the command that asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from executors.workload import TaskInstanceRef
    from runtime.config import Settings

DEADLINE = 10.0
"""Seconds."""


@dataclass(frozen=True)
class Answer:
    """``problem`` is one line; empty where all went well."""

    messages: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    problem: str = ""
    is_news: bool = True
    """Whether the problem matters to whoever has the log already."""


def ask_executor(settings: Settings, name: str, ref: TaskInstanceRef, deadline: float = DEADLINE) -> Answer:
    """``get_task_log`` of the executor called ``name``, within ``deadline`` seconds. Never raises for its sake.

    Nothing where its class has no such method of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _answer_and_exit(settings, name, ref, write_end, parent)
    os.close(write_end)
    try:
        data = _read_all(read_end, time.monotonic() + deadline)
    finally:
        os.close(read_end)
        _end(child)
    if data is None:
        return Answer(problem=f"get_task_log() has not returned within {deadline:g} s")
    try:
        return Answer(**json.loads(data))
    except (ValueError, TypeError):
        return Answer(problem="get_task_log() ended its process")


def _read_all(descriptor: int, deadline: float) -> bytes | None:
    """Until the other end is closed; ``None`` at the deadline."""
    parts: list[bytes] = []
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(descriptor, 65_536)
        if not data:
            return b"".join(parts)
        parts.append(data)
    return None


def _end(child: int) -> None:
    """Kill what may be left of it, processes that it started too."""
    for kill, number in ((os.killpg, child), (os.kill, child)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(number, signal.SIGKILL)
    os.waitpid(child, 0)


def _answer_and_exit(settings: Settings, name: str, ref: TaskInstanceRef, output: int, parent: int) -> NoReturn:
    try:
        from runtime.worker.linux import die_with_parent

        os.setpgid(0, 0)
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(2, 1)
        data = json.dumps(_ask(settings, name, ref).__dict__).encode()
        with open(output, "wb") as pipe:
            pipe.write(data)
    finally:
        # Not sys.exit: the stack below belongs to the parent.
        os._exit(0)


def _ask(settings: Settings, name: str, ref: TaskInstanceRef) -> Answer:
    from executors.base import BaseExecutor
    from executors.context import ExecutorContext
    from executors.errors import ExecutorError
    from executors.registry import ConfiguredExecutor, ExecutorRegistry
    from runtime.config.executors import survey_executors
    from runtime.config.worker import remote_worker_config

    try:
        entries = {entry.name.name: entry for entry in survey_executors(settings)}
        entry = entries.get(name)
        if entry is None:
            return Answer(problem="it is configured no longer, so it cannot be asked for a log", is_news=False)
        if not isinstance(entry, ConfiguredExecutor):
            return Answer(problem=entry.reason)
        if entry.cls.get_task_log is BaseExecutor.get_task_log:
            return Answer()
        executor = ExecutorRegistry([entry]).create(name, ExecutorContext(worker_config=remote_worker_config(settings)))
        return judge(executor.get_task_log(ref, ref.try_number))
    except BaseException as error:
        text = " ".join(str(error).split())[:300]
        kind = "" if isinstance(error, ExecutorError) and text else f"{type(error).__name__}: "
        return Answer(problem=f"no log of it: {kind}{text}".removesuffix(": "))


def judge(value: Any) -> Answer:
    """What ``get_task_log`` returned, if it is two lists of texts."""
    if isinstance(value, tuple | list) and len(value) == 2 and all(map(_are_texts, value)):
        messages, logs = ([_printable(text) for text in texts] for texts in value)
        return Answer(messages, logs)
    return Answer(problem=f"get_task_log() returned no (messages, logs) but {type(value).__name__}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(text, str) for text in value)


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
