"""What the database says happened: read once after the end, for the checks and for the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from runtime.db.engine import Database
from runtime.db.schema import dag_run, event, run_inbox, task_attempt, task_instance


@dataclass
class History:
    """Rows by the order in which they were made."""

    runs: Mapping[int, Any]
    instances: Mapping[str, Any]
    attempts: Sequence[Any]
    inbox: int
    """Reports that nobody has applied."""
    ready_at: dict[str, int] = field(default_factory=dict)
    """By attempt: since when its task instance had waited for a slot."""


def read_history(database: Database) -> History:
    """All of it; a few hundred bytes per attempt."""
    with database.read() as connection:
        runs = {row.id: row for row in connection.execute(select(dag_run).order_by(dag_run.c.id))}
        columns = (
            task_instance.c.id, task_instance.c.dag_run_id, task_instance.c.task_id, task_instance.c.state,
            task_instance.c.try_number, task_instance.c.infra_losses, task_instance.c.pool,
            task_instance.c.pool_slots, task_instance.c.attempt_id,
        )  # fmt: skip
        instances = {row.id: row for row in connection.execute(select(*columns))}
        attempt = task_attempt.c
        fields = (
            attempt.id, attempt.task_instance_id, attempt.dag_run_id, attempt.try_number, attempt.dispatch_number,
            attempt.state, attempt.executor, attempt.executor_reason, attempt.queued_at, attempt.started_at,
            attempt.ended_at,
        )  # fmt: skip
        attempts = connection.execute(select(*fields).order_by(attempt.queued_at, attempt.id)).all()
        found = History(runs, instances, attempts, len(connection.execute(select(run_inbox.c.id)).all()))
        steps = select(event.c.task_instance_id, event.c.attempt_id, event.c.at, event.c.new_state).where(
            event.c.new_state.in_(("scheduled", "queued")), event.c.task_instance_id.is_not(None)
        )
        since: dict[str, int] = {}
        for row in connection.execute(steps.order_by(event.c.id)):
            if row.new_state == "scheduled":
                since[row.task_instance_id] = row.at
            else:
                found.ready_at[row.attempt_id] = since[row.task_instance_id]
    return found
