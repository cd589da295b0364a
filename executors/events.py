"""What an executor reports: past-tense facts about one launch, never task states.

*Gone*, *failed* and *cannot tell* are three answers (:class:`Lost`, :class:`Failed`, :class:`Unknown`): a failed poll
is never a failed task, and a task is never called successful because its process is no longer there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from executors.workload import TaskInstanceKey


@dataclass(frozen=True, slots=True)
class Accepted:
    """The backend took the launch; ``external_id`` is its own name for it, where it has one. Keeps the slot."""

    key: TaskInstanceKey
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The launch is executing. Keeps the slot."""

    key: TaskInstanceKey
    info: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The launched process ended with a verified exit code 0. Frees the slot."""

    key: TaskInstanceKey
    info: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The launched process ended otherwise, or (``refused``) there never was one; ``reason`` is for a person. Frees
    the slot.
    """

    key: TaskInstanceKey
    reason: str | None = None
    refused: bool = False
    """No launch of it can work, such as with a bad ``executor_config``: the task's own try fails. An attempt that just
    ended before its worker was heard of is launched again, without charge."""
    ended: bool = False
    """The backend is certain that nothing of the launch runs any more. Without it, the host waits until an attempt that
    had started has been silent for long enough."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The launch is gone, by no fault of its own. Frees the slot. It is no proof that nothing runs any more."""

    key: TaskInstanceKey
    reason: str | None = None
    ended: bool = False
    """It is one: the backend is certain that nothing of the launch runs any more."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The backend has the launch and says why it does not execute yet; empty: it no longer says. Keeps the slot."""

    key: TaskInstanceKey
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The backend cannot tell now. Changes nothing; keeps the slot."""

    key: TaskInstanceKey
    reason: str | None = None


ExecutorEvent: TypeAlias = Accepted | Pending | Running | Succeeded | Failed | Lost | Unknown
FINAL_EVENTS = (Succeeded, Failed, Lost)
