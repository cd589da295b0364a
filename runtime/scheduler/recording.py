"""What executors say of attempts that changes no state and is kept for people: names, reasons to wait, callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, insert, update

from executors.events import Accepted, Pending
from runtime.core.states import AttemptState
from runtime.db.schema import callback_request, task_attempt
from runtime.scheduler.mailbox import CallbackSent
from runtime.scheduler.memory import Handed

_EXTERNAL_ID = (
    update(task_attempt).where(task_attempt.c.id == bindparam("b_id")).values(external_id=bindparam("v_external"))
)
_WAITING = (
    update(task_attempt)
    .where(task_attempt.c.id == bindparam("b_id"), task_attempt.c.state == AttemptState.QUEUED)
    .values(reason=bindparam("v_reason"))
)


def record_accepted(connection: Connection, accepted: Iterable[Accepted]) -> None:
    """The backend's names of launches."""
    rows = [{"b_id": event.key.attempt_id, "v_external": event.external_id} for event in accepted if event.external_id]
    if rows:
        connection.execute(_EXTERNAL_ID, rows)


def record_pending(connection: Connection, pending: Mapping[str, Pending], handed: Mapping[str, Handed]) -> None:
    """Why attempts wait, as their ``reason`` while they are queued: once one starts or ends, that is over.

    :param pending: by attempt id, as are ``handed``; of attempts that nobody holds any more nothing is written.
    """
    held = [(handed[identifier].task_instance_id, identifier) for identifier in pending if identifier in handed]
    if held:
        # In the order in which everybody locks attempts: that of their task instances.
        rows = [{"b_id": one, "v_reason": pending[one].reason or None} for _, one in sorted(held)]
        connection.execute(_WAITING, rows)


def record_callbacks(connection: Connection, callbacks: Iterable[CallbackSent], at: int) -> None:
    """For the DAG processor, which runs them."""
    rows = [{"created_at": at, "executor": sent.executor, "request": sent.request} for sent in callbacks]
    if rows:
        connection.execute(insert(callback_request), rows)
