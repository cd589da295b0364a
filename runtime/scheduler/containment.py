"""What an executor says, made fit for the scheduler: whatever is rubbish raises :class:`RubbishError`, in its lane.

An executor is other people's code. What passes here has the type that it claims, fits into the database and holds no
object of the executor's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from executors.base import BaseExecutor
from executors.callbacks import CallbackRequest
from executors.errors import ExecutorError
from executors.events import Accepted, ExecutorEvent, Failed, Lost, Pending, Running, Succeeded, Unknown
from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.scheduler.mailbox import Figures

LONGEST_REASON = 300
LONGEST_TEXT = 4000
"""Characters of what an executor says of an attempt."""
LONGEST_ID = 250
"""Of the column ``task_attempt.external_id``."""
LONGEST_CALLBACK = 100_000
MOST_SLOTS = 2**31 - 1
"""Of the integer columns of ``executor_status``; an unlimited executor offers more."""
_TEXTS: Mapping[type, str] = {
    Accepted: "external_id",
    Pending: "reason",
    Running: "info",
    Succeeded: "info",
    Failed: "reason",
    Lost: "reason",
    Unknown: "reason",
}
_LONGEST = {"external_id": LONGEST_ID, "info": LONGEST_TEXT, "reason": LONGEST_TEXT}


class RubbishError(TypeError):
    """An executor said something that its contract does not allow; the message is one line."""


def clean(value: object, longest: int = LONGEST_TEXT) -> str:
    """The text of anything: clipped, without what no database stores. Never raises."""
    try:
        text = str(value)
        if len(text) > longest:
            text = text[: longest - 1] + "…"
        return str.encode(text, errors="replace").decode().replace("\0", "?")
    except BaseException:
        return "(its text cannot be had)"


def told(what: str, error: BaseException) -> str:
    """``what`` raised ``error``, in one line. The package's own errors are lines for a person already."""
    text = " ".join(clean(error).split())
    if isinstance(error, RubbishError | ExecutorError) and text:
        return clean(text, LONGEST_REASON)
    return clean(f"{what} raised {type(error).__name__}: {text}".removesuffix(": "), LONGEST_REASON)


def traceback_of(error: BaseException) -> BaseException | None:
    """What to log beside the line of :func:`told`: nothing where that says it all, or where the text is too much."""
    try:
        brief = not isinstance(error, RubbishError | ExecutorError) and clean(error) == str(error)
    except BaseException:
        return None
    return error if brief else None


def figures(executor: BaseExecutor) -> Figures:
    """What a lane shows of its executor. A negative number of open slots is none: there may be more than fit."""
    return Figures(
        parallelism=_whole("parallelism", executor.parallelism),
        open_slots=_whole("slots_available", executor.slots_available),
        queued=len(executor.queued_tasks),
        running=len(executor.running),
    )


def handles(executor: BaseExecutor) -> frozenset[int]:
    """Its open descriptors."""
    found = frozenset(_collection("poll_handles", executor.poll_handles()))
    for handle in found:
        if type(handle) is not int:
            raise RubbishError(f"poll_handles() names {clean(repr(handle), 80)}, which is no descriptor")
        try:
            os.fstat(handle)
        except (OSError, OverflowError):
            raise RubbishError(f"poll_handles() names {handle}, which is no open descriptor") from None
    return found


def events(executor: BaseExecutor) -> tuple[list[ExecutorEvent], list[str]]:
    """Its events, and what kinds of things in its buffer are none."""
    good: list[ExecutorEvent] = []
    bad: list[str] = []
    for thing in _collection("get_event_buffer", executor.get_event_buffer()):
        if type(thing) in _TEXTS and _is_key(thing.key) and _has_flags(thing):
            good.append(_presentable(thing))
        else:
            bad.append(type(thing).__name__)
    return good, bad


def answer(executor: BaseExecutor, method: str, args: Sequence[Any]) -> Any:
    """What the executor answers to a question. It gets lists of its own, which it may change."""
    if method == "held":
        return held(executor)
    value = getattr(executor, method)(*[list(arg) if isinstance(arg, list) else arg for arg in args])
    return _CHECKS[method](value, *args) if method in _CHECKS else value


def held(executor: BaseExecutor) -> frozenset[TaskInstanceKey]:
    """The attempts that occupy its slots, without those whose ends nobody has taken yet, and without rubbish."""
    found = (key for key in (*executor.queued_tasks, *executor.running) if _is_key(key))
    return frozenset(key for key in found if clean(key.attempt_id, LONGEST_ID) == key.attempt_id)


def not_adopted(value: object, offered: Iterable[TaskInstanceRef]) -> list[TaskInstanceRef]:
    """Those of ``offered`` that ``try_adopt_task_instances`` has returned."""
    known = {ref.key: ref for ref in offered}
    missing: dict[TaskInstanceKey, TaskInstanceRef] = {}
    for ref in _collection("try_adopt_task_instances", value):
        if not isinstance(ref, TaskInstanceRef) or ref.key not in known:
            raise RubbishError(f"try_adopt_task_instances() returned {clean(repr(ref), 80)}, which was not offered")
        missing[ref.key] = known[ref.key]
    return list(missing.values())


def callback(request: object) -> str:
    """A request for a callback, as it goes into the database. Raises ``ValueError`` where it is none."""
    if type(request) is not str or len(request) > LONGEST_CALLBACK:
        raise ValueError(f"a callback request is JSON of at most {LONGEST_CALLBACK} characters")
    try:
        return CallbackRequest.from_json(request).to_json()
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no callback request: {error}") from error


def task_log(value: object, *_: object) -> tuple[list[str], list[str]]:
    """What ``get_task_log`` has returned: messages and logs."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise RubbishError(f"get_task_log() returned {clean(repr(value), 80)}, not (messages, logs)")
    messages, logs = (_texts("get_task_log", part) for part in value)
    return messages, logs


def _texts(method: str, value: object, *_: object) -> list[str]:
    found = list(_collection(method, value))
    if not all(isinstance(text, str) for text in found):
        raise RubbishError(f"{method}() returned {clean(repr(value), 80)}, not texts")
    return found


def _health(value: object) -> str | None:
    return None if value is None else clean(value, LONGEST_REASON)


_CHECKS: Mapping[str, Callable[..., Any]] = {
    "try_adopt_task_instances": not_adopted,
    "cleanup_stuck_queued_tasks": lambda value, *_: _texts("cleanup_stuck_queued_tasks", value),
    "get_task_log": task_log,
    "health_check": _health,
    "debug_dump": lambda value: clean(value, 1_000_000),
}


def _collection(method: str, value: object) -> Collection[Any]:
    if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
        raise RubbishError(f"{method}() returned {type(value).__name__}, not a list")
    return value


def _whole(name: str, value: object) -> int:
    if type(value) is not int:
        raise RubbishError(f"{name} is {clean(repr(value), 80)}, not a whole number")
    return min(max(0, value), MOST_SLOTS)


def _is_key(key: object) -> bool:
    return (
        type(key) is TaskInstanceKey
        and type(key.dag_id) is type(key.task_id) is type(key.run_id) is type(key.attempt_id) is str
        and type(key.try_number) is type(key.map_index) is int
    )


def _has_flags(event: ExecutorEvent) -> bool:
    """What the scheduler asks of an end is yes or no, and nothing that raises when it is asked."""
    return all(type(getattr(event, name, False)) is bool for name in ("refused", "ended"))


def _presentable(event: ExecutorEvent) -> ExecutorEvent:
    """The event with a text that can be stored and shown."""
    name = _TEXTS[type(event)]
    text = getattr(event, name)
    if text is None or (type(text) is str and clean(text, _LONGEST[name]) == text):
        return event
    if isinstance(event, Accepted):
        return Accepted(event.key)  # a part of a name would be another name
    changes: dict[str, Any] = {name: clean(text)}
    return replace(event, **changes)
