"""The one place where a task instance's or an attempt's state is written.

A :class:`Batch` collects changes and writes each kind with one statement for all rows. Every UPDATE is guarded by the
state and the attempt that the decision was made from; when fewer rows change than were meant,
:class:`GuardRefusedError` undoes the transaction, and the caller looks again at what is true now. Each transition also
writes an ``event`` row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Update, bindparam, insert, or_, update

from runtime.core.states import AttemptState, TaskState, check_transition
from runtime.db.schema import event, run_inbox, task_attempt, task_instance

Row = dict[str, Any]
ENDED = "ended"
"""Kind of an inbox row: an attempt has reported its end."""
OWING = "ended, owing"
"""Likewise, and its process has not run the callbacks of that outcome."""
_ID = itemgetter("b_id")


class GuardRefusedError(Exception):
    """A guarded UPDATE changed fewer rows than decided: somebody else was there first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which task instance changes, and what the decision believed of it."""

    id: str
    dag_run_id: int
    state: TaskState
    attempt_id: str | None
    name: str = ""
    """For error messages: ``dag.task run``."""


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """A dispatch to be committed before its hand-off."""

    id: str
    try_number: int
    dispatch_number: int
    executor: str
    executor_reason: str
    scheduler_id: str
    version_id: str


def _guarded(*, set_columns: Sequence[str], **fixed: Any) -> Update:
    """UPDATE task_instance … WHERE id, state and attempt are still those of the decision."""
    return (
        update(task_instance)
        .where(
            task_instance.c.id == bindparam("b_id"),
            task_instance.c.state == bindparam("b_state"),
            task_instance.c.attempt_id.is_not_distinct_from(bindparam("b_attempt")),
        )
        .values({**{name: bindparam(f"v_{name}") for name in set_columns}, **fixed})
    )


_SCHEDULE = _guarded(
    set_columns=("scheduled_at", "attempt_id", "infra_losses", "reason"), state="scheduled", retry_at=None
)
_QUEUE = _guarded(
    set_columns=("scheduled_at", "queued_at", "attempt_id", "try_number", "dispatch_number"),
    state="queued",
    start_date=None,
    end_date=None,
    retry_at=None,
    reason=None,
)
_START = _guarded(set_columns=("start_date",), state="running")
_END = _guarded(set_columns=("state", "end_date", "retry_at", "reason"))
_ATTEMPT_START = (
    update(task_attempt)
    .where(task_attempt.c.id == bindparam("b_id"), task_attempt.c.state == "queued")
    .values(
        {name: bindparam(f"v_{name}") for name in ("start_nonce", "hostname", "pid", "pid_started", "boot_id")}
        | {"state": "running", "started_at": bindparam("v_at"), "heartbeat_at": bindparam("v_at")}
        | {"file_hash": bindparam("v_file_hash"), "reason": None}
    )
)
_ATTEMPT_END = (
    update(task_attempt)
    .where(
        task_attempt.c.id == bindparam("b_id"),
        or_(task_attempt.c.state == "queued", task_attempt.c.state == "running"),
    )
    .values(state=bindparam("v_state"), ended_at=bindparam("v_at"), reason=bindparam("v_reason"))
)


@dataclass(slots=True)
class Batch:
    """Changes of one transaction. ``at`` is its moment, ``actor`` who is written into the events."""

    at: int
    actor: str
    schedules: list[Row] = field(default_factory=list)
    queues: list[Row] = field(default_factory=list)
    starts: list[Row] = field(default_factory=list)
    ends: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    attempt_starts: list[Row] = field(default_factory=list)
    attempt_ends: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    inbox: list[Row] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.events or self.inbox or self.attempt_ends)

    def schedule(
        self, ti: Subject, *, same_try: bool = False, infra_losses: int = 0, reason: str | None = None
    ) -> None:
        """It may run now and waits for a slot. ``same_try``: the lost attempt stays, the next one repeats its try."""
        self._event(ti, TaskState.SCHEDULED, reason)
        self.schedules.append(
            self._where(ti)
            | {
                "v_scheduled_at": self.at,
                "v_attempt_id": ti.attempt_id if same_try else None,
                "v_infra_losses": infra_losses,
                "v_reason": reason,
            }
        )

    def queue(self, ti: Subject, attempt: NewAttempt, *, scheduled_at: int | None) -> None:
        """Commit the intent to hand ``attempt`` to its executor; from a state before *scheduled* both steps at once."""
        if ti.state is not TaskState.SCHEDULED:
            self._event(ti, TaskState.SCHEDULED, None)
            self._event(Subject(ti.id, ti.dag_run_id, TaskState.SCHEDULED, attempt.id, ti.name), TaskState.QUEUED, None)
        else:
            self._event(ti, TaskState.QUEUED, None, attempt.id)
        self.queues.append(
            self._where(ti)
            | {
                "v_scheduled_at": scheduled_at or self.at,
                "v_queued_at": self.at,
                "v_attempt_id": attempt.id,
                "v_try_number": attempt.try_number,
                "v_dispatch_number": attempt.dispatch_number,
            }
        )
        self.attempts.append(
            {
                "id": attempt.id,
                "task_instance_id": ti.id,
                "dag_run_id": ti.dag_run_id,
                "try_number": attempt.try_number,
                "dispatch_number": attempt.dispatch_number,
                "state": "queued",
                "executor": attempt.executor,
                "executor_reason": attempt.executor_reason,
                "scheduler_id": attempt.scheduler_id,
                "version_id": attempt.version_id,
                "queued_at": self.at,
            }
        )

    def start(self, ti: Subject, launch: Row) -> None:
        """Grant the start. ``launch``: start_nonce, hostname, pid, pid_started, boot_id, file_hash."""
        self._event(ti, TaskState.RUNNING, None)
        self.starts.append(self._where(ti) | {"v_start_date": self.at})
        self.attempt_starts.append(
            {"b_id": ti.attempt_id, "v_at": self.at} | {f"v_{name}": value for name, value in launch.items()}
        )

    def end(self, ti: Subject, state: TaskState, *, reason: str | None = None, retry_at: int | None = None) -> None:
        """Into a finished state, or *up_for_retry* until ``retry_at``, or (after a clear) back to *none*."""
        self._event(ti, state, reason)
        end_date = None if state is TaskState.NONE else self.at
        self.ends.append(
            self._where(ti)
            | {"v_state": state.value, "v_end_date": end_date, "v_retry_at": retry_at, "v_reason": reason}
        )

    def end_attempt(self, attempt_id: str, state: AttemptState, reason: str | None = None) -> None:
        """The attempt is over; the task instance's own state is a separate change."""
        self.attempt_ends.append({"b_id": attempt_id, "v_state": state.value, "v_at": self.at, "v_reason": reason})

    def notify(self, dag_run_id: int, kind: str, task_instance_id: str | None, attempt_id: str | None) -> None:
        """Leave a row in the run's inbox: its owner has consequences to apply."""
        self.inbox.append(
            {
                "dag_run_id": dag_run_id,
                "task_instance_id": task_instance_id,
                "attempt_id": attempt_id,
                "kind": kind,
                "created_at": self.at,
            }
        )

    def write(self, connection: Connection) -> None:
        """Write everything. Raises :class:`GuardRefusedError`; then the transaction must be rolled back."""
        for name, statement, rows in (
            ("schedule", _SCHEDULE, self.schedules),
            ("queue", _QUEUE, self.queues),
            ("start", _START, self.starts),
            ("end", _END, self.ends),
            ("start attempt", _ATTEMPT_START, self.attempt_starts),
            ("end attempt", _ATTEMPT_END, self.attempt_ends),
        ):
            # In one order for everybody: two transactions that change the same rows must not wait for each other.
            rows.sort(key=_ID)
            if rows and (changed := connection.execute(statement, rows).rowcount) != len(rows):
                raise GuardRefusedError(f"{name}: {changed} of {len(rows)} rows were still as decided")
        for table, rows in ((task_attempt, self.attempts), (event, self.events), (run_inbox, self.inbox)):
            if rows:
                connection.execute(insert(table), rows)

    @staticmethod
    def _where(ti: Subject) -> Row:
        return {"b_id": ti.id, "b_state": ti.state.value, "b_attempt": ti.attempt_id}

    def _event(self, ti: Subject, new: TaskState, reason: str | None, attempt_id: str | None = None) -> None:
        check_transition(ti.state, new, f"{ti.name or ti.id}, attempt {ti.attempt_id}, by {self.actor}: {reason}")
        self.events.append(
            {
                "at": self.at,
                "dag_run_id": ti.dag_run_id,
                "task_instance_id": ti.id,
                "attempt_id": attempt_id or ti.attempt_id,
                "old_state": ti.state.value,
                "new_state": new.value,
                "actor": self.actor,
                "reason": reason,
            }
        )


def record_run_event(
    connection: Connection,
    *,
    at: int,
    dag_run_id: int,
    old: str | None,
    new: str,
    actor: str,
    reason: str | None = None,
) -> None:
    """Write the event row of a run's transition, or of a manual act on it."""
    connection.execute(
        insert(event),
        [
            {
                "at": at,
                "dag_run_id": dag_run_id,
                "task_instance_id": None,
                "attempt_id": None,
                "old_state": old,
                "new_state": new,
                "actor": actor,
                "reason": reason,
            }
        ],
    )
