"""What a branch does not follow is skipped in the transaction that takes the branch's own report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from runtime.core.states import UNBEGUN, TaskState
from runtime.db.schema import task_instance
from runtime.db.transitions import Batch, Subject
from runtime.service.attempts import Attempt

_AT_ONCE = 500
"""Ids in one query; SQLite takes 32,766 parameters."""


def decision(task_ids: Sequence[str]) -> str:
    """Value of the XCom :data:`~runtime.core.messages.DECISION`, JSON: what is cleared alone stays skipped by it."""
    return json.dumps({"skipped": list(task_ids)})


def skip(connection: Connection, batch: Batch, attempt: Attempt, task_ids: Sequence[str]) -> None:
    """Skip those instances of the tasks that have not begun, and tell the owner of the run. Costs O(skipped)."""
    done = {row["b_id"] for row in batch.ends}
    reason = f"not followed by {attempt.row.task_id}"
    for first in range(0, len(task_ids), _AT_ONCE):
        for row in _unbegun(connection, attempt.row.dag_run_id, task_ids[first : first + _AT_ONCE]):
            if row.id in done:
                continue
            subject = Subject(row.id, row.dag_run_id, TaskState(row.state), row.attempt_id, row.task_id)
            batch.end(subject, TaskState.SKIPPED, reason=reason)
            batch.notify(row.dag_run_id, "skipped", row.id, row.attempt_id)


def _unbegun(connection: Connection, dag_run_id: int, task_ids: Sequence[str]) -> Sequence[Any]:
    columns = task_instance.c
    query = (
        select(columns.id, columns.dag_run_id, columns.task_id, columns.state, columns.attempt_id)
        .where(columns.dag_run_id == dag_run_id, columns.task_id.in_(task_ids), columns.state.in_(UNBEGUN))
        .order_by(columns.id)
        .with_for_update(key_share=True)
    )
    return connection.execute(query).all()
