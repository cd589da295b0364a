"""What an executor has to say of an attempt's log, asked in a child process, without ``start()``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.cli.executor_child import ask_in_child, told

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
    try:
        data = ask_in_child(lambda: _ask(settings, name, ref).__dict__, deadline)
    except TimeoutError:
        return Answer(problem=f"get_task_log() has not returned within {deadline:g} s")
    try:
        return Answer(**data) if data is not None else Answer(problem="get_task_log() ended its process")
    except TypeError:
        return Answer(problem="get_task_log() ended its process")


def _ask(settings: Settings, name: str, ref: TaskInstanceRef) -> Answer:
    from executors.base import BaseExecutor
    from executors.context import ExecutorContext
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
        return Answer(problem=f"no log of it: {told(error)}")


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
