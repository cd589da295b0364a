"""Callbacks of a task in the process that runs it. Whatever one of them does, the task's state stays what it is."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from runtime.authoring.callbacks import Callback, callbacks_of
from runtime.authoring.context import active
from runtime.authoring.exceptions import ArgumentError
from runtime.worker.interrupts import Interrupts, TaskKilled

log = logging.getLogger("runtime.task")
_BETWEEN = 5.0
"""Seconds that a supervisor adds to the time of the callbacks before it kills a process that hangs in one."""


def call_back(owner: Any, kind: str, context: Mapping[str, Any], interrupts: Interrupts, limit: float) -> list[str]:
    """Call each ``on_<kind>_callback`` of a task or DAG, for at most ``limit`` seconds each; say which failed, and how.

    One that raises or takes too long is told in the log, and the next is called. Raises nothing but
    :class:`~runtime.worker.interrupts.TaskKilled`, when the attempt is to end now.
    """
    failed = []
    name = f"on_{kind}_callback"
    for callback in callbacks_of(owner, kind):
        what = f"{name} {_name(callback)}"
        try:
            interrupts.arm(limit, f"[core] callback_timeout, which bounds {what},")
            try:
                callback(context)
            finally:
                interrupts.disarm()
        except TaskKilled:
            raise
        except BaseException as error:
            failed.append(f"{_name(callback)}: {type(error).__name__}: {error}")
            _tell(what, error)
    return failed


def call_back_later(
    owner: Any, kind: str, context: Mapping[str, Any], interrupts: Interrupts, limit: float
) -> Callable[[], None]:
    """:func:`call_back`, to be called when the outcome is with the supervisor. Raises nothing."""
    return functools.partial(_call_back_quietly, owner, kind, context, interrupts, limit)


def longest(calls: int, limit: float) -> float:
    """Seconds after which a process that runs ``calls`` callbacks is past all help."""
    return calls * limit + _BETWEEN


def _call_back_quietly(owner: Any, kind: str, context: Mapping[str, Any], interrupts: Interrupts, limit: float) -> None:
    interrupts.operator = None
    try:
        with active(context):
            call_back(owner, kind, context, interrupts, limit)
    except TaskKilled as error:
        log.warning("its on_%s_callback was ended: %s", kind, error)
    except ArgumentError as error:
        log.error("%s", error)  # noqa: TRY400  it says it all


def _name(callback: Callback) -> str:
    return getattr(callback, "__name__", None) or type(callback).__name__


def _tell(what: str, error: BaseException) -> None:
    """The user's part of the traceback; our own frame is the first."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    log.error(
        "%s failed; the task's state stays what it is: %s",
        what,
        f"{type(error).__name__}: {error}",
        exc_info=(type(error), error, traceback),
    )
