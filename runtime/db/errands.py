"""What others want done with a DAG file's code, for the DAG processor: callbacks to be called, runs to be planned."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, or_, select, update

from executors.callbacks import CallbackRequest
from runtime.core.callbacks import RunCallback, TaskCallback, decode_wanted
from runtime.core.clock import SECOND
from runtime.core.messages import RunContext
from runtime.core.specs import decode_dag
from runtime.core.states import TaskState
from runtime.core.timetables import DueRun
from runtime.db.dags import due_run, store_due_run
from runtime.db.plans import PlanWanted, store_plan
from runtime.db.run_context import COLUMNS
from runtime.db.schema import callback_request, dag, dag_run, dag_version, task_instance

MOST_TRIES = 3
"""A callback whose child was never seen to end, because the processor died each time, is given up after so many."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A callback to be called: ``on_<kind>_callback`` of the task that ``run`` names, or of its DAG."""

    id: int
    """Of its row."""
    kind: str
    of_task: bool
    run: RunContext
    reason: str
    task_state: str

    @property
    def name(self) -> str:
        what = f"task {self.run.dag_id}.{self.run.task_id}" if self.of_task else f"DAG {self.run.dag_id}"
        return f"on_{self.kind}_callback of {what}, run {self.run.run_id}"


def has_calls(connection: Connection) -> bool:
    """Whether there is any request, claimed or not."""
    return connection.execute(select(callback_request.c.id).limit(1)).first() is not None


def claim_calls(connection: Connection, at: int, *, limit: int, seconds: float) -> list[Call]:
    """Take the oldest callbacks that nobody sees to, for ``seconds``. What cannot be called is dropped, and told."""
    free = or_(callback_request.c.claimed_until.is_(None), callback_request.c.claimed_until < at)
    rows = connection.execute(
        select(callback_request)
        .where(free)
        .order_by(callback_request.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    calls = []
    for row in rows:
        call = _call(connection, row) if (row.tries or 0) < MOST_TRIES else None
        if call is None:
            why = f"was tried {row.tries} times" if row.tries else "names nothing that is there"
            log.warning("callback request %d is dropped, it %s: %.200s", row.id, why, row.request)
            settle_call(connection, row.id)
            continue
        until = at + round(seconds * SECOND)
        mine = update(callback_request).where(callback_request.c.id == row.id)
        connection.execute(mine.values(claimed_until=until, tries=(row.tries or 0) + 1))
        calls.append(call)
    return calls


def settle_call(connection: Connection, identifier: int) -> None:
    """It was called, or never will be."""
    connection.execute(delete(callback_request).where(callback_request.c.id == identifier))


def accept_plan(connection: Connection, wanted: PlanWanted, runs: Sequence[DueRun], at: int) -> None:
    """Store planned runs, and when the next one is due."""
    if not store_plan(connection, wanted, runs):
        return
    spec = connection.execute(select(dag_version.c.spec).where(dag_version.c.id == wanted.version_id)).scalar_one()
    store_due_run(connection, wanted.dag_id, due_run(connection, decode_dag(spec), at))


_TASKS = (
    select(
        *COLUMNS,
        task_instance.c.try_number,
        task_instance.c.dispatch_number,
        task_instance.c.start_date.label("task_start_date"),
        task_instance.c.state.label("task_state"),
    )
    .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
    .join(dag, dag.c.dag_id == dag_run.c.dag_id)
    .join(dag_version, dag_version.c.id == dag.c.version_id)
)
"""The newest version of the file: it is what is on disk."""


def _call(connection: Connection, row: Row[Any]) -> Call | None:
    if row.executor:
        return _call_of_executor(connection, row)
    try:
        wanted = decode_wanted(row.request)
    except msgspec.DecodeError:
        return None
    if isinstance(wanted, RunCallback):
        # Airflow's context has the run's last task instance: the one that failed, where one did.
        failed = task_instance.c.state.in_((TaskState.FAILED, TaskState.UPSTREAM_FAILED))
        query = _TASKS.where(dag_run.c.id == wanted.dag_run_id)
        last = query.order_by(failed.desc(), task_instance.c.end_date.desc(), task_instance.c.id).limit(1)
        return _made(connection, row.id, last, wanted.kind, wanted.reason, of_task=False)
    return _of_task(connection, row.id, wanted)


def _of_task(connection: Connection, identifier: int, wanted: TaskCallback) -> Call | None:
    query = _TASKS.where(task_instance.c.id == wanted.task_instance_id)
    return _made(connection, identifier, query, wanted.kind, wanted.message, try_number=wanted.try_number)


def _call_of_executor(connection: Connection, row: Row[Any]) -> Call | None:
    try:
        wanted = CallbackRequest.from_json(row.request)
    except (msgspec.MsgspecError, ValueError):
        return None
    key = wanted.key
    query = _TASKS.where(
        dag_run.c.dag_id == key.dag_id,
        dag_run.c.run_id == key.run_id,
        task_instance.c.task_id == key.task_id,
        task_instance.c.map_index == key.map_index,
    )
    kind = wanted.kind.removeprefix("task_")
    return _made(connection, row.id, query, kind, wanted.message, try_number=key.try_number)


def _made(
    connection: Connection,
    identifier: int,
    query: Select[Any],
    kind: str,
    reason: str,
    *,
    of_task: bool = True,
    try_number: int | None = None,
) -> Call | None:
    row = connection.execute(query).first()
    if row is None:
        return None
    values = {name: getattr(row, name) for name in RunContext.__struct_fields__ if hasattr(row, name)}
    values |= {"conf": json.loads(row.conf), "try_number": row.try_number if try_number is None else try_number}
    return Call(identifier, kind, of_task, RunContext(**values), reason, row.task_state)
