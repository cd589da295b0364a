"""States of runs, task instances and attempts, and the one table of legal transitions.

State names are Airflow's. ``none`` is a state of its own, never a missing value.
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class TaskState(StrEnum):
    NONE = "none"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RESTARTING = "restarting"
    UP_FOR_RETRY = "up_for_retry"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    REMOVED = "removed"


class AttemptState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    LOST = "lost"


RUN_FINISHED = frozenset({RunState.SUCCESS, RunState.FAILED})
TASK_FINISHED = frozenset(
    {TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.REMOVED}
)
TASK_ACTIVE = frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.RESTARTING})
"""Holds pool slots and counts against limits."""
UNBEGUN = frozenset({TaskState.NONE, TaskState.SCHEDULED, TaskState.UP_FOR_RETRY})
"""Nothing of it runs or is with an executor: what a branch can still skip."""
ATTEMPT_ACTIVE = frozenset({AttemptState.QUEUED, AttemptState.RUNNING})

_S = TaskState
LEGAL: dict[TaskState, frozenset[TaskState]] = {
    _S.NONE: frozenset({_S.SCHEDULED, _S.SKIPPED, _S.UPSTREAM_FAILED, _S.FAILED, _S.REMOVED, _S.SUCCESS}),
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.NONE, _S.SKIPPED, _S.FAILED, _S.REMOVED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.SCHEDULED, _S.SUCCESS, _S.UP_FOR_RETRY, _S.FAILED, _S.SKIPPED, _S.RESTARTING}),
    _S.RUNNING: frozenset({_S.SUCCESS, _S.FAILED, _S.SKIPPED, _S.UP_FOR_RETRY, _S.SCHEDULED, _S.RESTARTING}),
    _S.RESTARTING: frozenset({_S.NONE, _S.FAILED}),
    _S.UP_FOR_RETRY: frozenset({_S.SCHEDULED, _S.NONE, _S.FAILED, _S.SKIPPED}),
    **{state: frozenset({_S.NONE, _S.RESTARTING}) for state in TASK_FINISHED},
}
"""From each state, where it may go. A finished state is left by hand only: by *clear*, which goes through ``none``, or
through ``restarting`` where the attempt of one that somebody marked runs on for a moment, or by another mark."""


class IllegalTransitionError(Exception):
    """A transition that the table does not allow; the message tells the whole story of the task instance."""


def check_transition(old: TaskState, new: TaskState, story: str) -> None:
    """Raise :class:`IllegalTransitionError` unless ``old`` → ``new`` is legal."""
    if new not in LEGAL[old]:
        raise IllegalTransitionError(f"{old} → {new} is not a legal transition: {story}")
