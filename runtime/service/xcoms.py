"""Reading and writing XComs on behalf of an attempt. Values are JSON text, passed through unread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select

from runtime.core.messages import XComPull, XComValues
from runtime.db.schema import dag_run, xcom
from runtime.service.attempts import Attempt

RETURN_VALUE = "return_value"
_OF_TASK = (
    xcom.c.dag_run_id == bindparam("b_run"),
    xcom.c.task_id == bindparam("b_task"),
    xcom.c.map_index == bindparam("b_map"),
)
_DELETE_ALL = delete(xcom).where(*_OF_TASK)
_DELETE_ONE = delete(xcom).where(*_OF_TASK, xcom.c.key == bindparam("b_key"))


@dataclass(frozen=True, slots=True)
class Value:
    """An XCom to be written."""

    attempt: Attempt
    key: str
    json: str


def clear(connection: Connection, attempts: Iterable[Attempt]) -> None:
    """Forget what earlier attempts of these task instances pushed."""
    rows = [_of(attempt) for attempt in attempts if attempt.row.try_number > 1 or attempt.row.dispatch_number > 1]
    if rows:
        connection.execute(_DELETE_ALL, rows)


def write(connection: Connection, values: list[Value], at: int) -> None:
    """Store the values; a later one of the same key replaces an earlier one."""
    last = {(value.attempt.row.ti_id, value.key): value for value in values}
    if not last:
        return
    connection.execute(_DELETE_ONE, [_of(value.attempt) | {"b_key": value.key} for value in last.values()])
    connection.execute(insert(xcom), [_row(value, at) for value in last.values()])


def pull(connection: Connection, attempt: Attempt, request: XComPull) -> XComValues:
    """Read values of the attempt's own run, or of the run that the request names."""
    query = select(xcom.c.task_id, xcom.c.map_index, xcom.c.value).where(
        xcom.c.task_id.in_(request.task_ids), xcom.c.key == request.key
    )
    if request.run_id or request.dag_id:
        runs = select(dag_run.c.id).where(
            dag_run.c.dag_id == (request.dag_id or attempt.row.dag_id),
            dag_run.c.run_id == (request.run_id or attempt.row.run_id),
        )
        query = query.where(xcom.c.dag_run_id.in_(runs))
    else:
        query = query.where(xcom.c.dag_run_id == attempt.row.dag_run_id)
    if request.map_index is not None:
        query = query.where(xcom.c.map_index == request.map_index)
    order = {task_id: position for position, task_id in enumerate(request.task_ids)}
    rows = sorted(connection.execute(query), key=lambda row: (order[row.task_id], row.map_index))
    return XComValues(tuple((row.task_id, row.map_index, msgspec.Raw(row.value.encode())) for row in rows))


def _of(attempt: Attempt) -> dict[str, Any]:
    return {"b_run": attempt.row.dag_run_id, "b_task": attempt.row.task_id, "b_map": attempt.row.map_index}


def _row(value: Value, at: int) -> dict[str, Any]:
    row = value.attempt.row
    return {
        "dag_run_id": row.dag_run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "key": value.key,
        "value": value.json,
        "attempt_id": row.id,
        "created_at": at,
    }
