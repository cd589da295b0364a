"""Runs that a task starts, and how they stand. Asking again, after a lost reply or a re-launch, starts nothing more."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, or_, select

from runtime.core.clock import iso
from runtime.core.errors import HybridError
from runtime.core.ids import is_run_id
from runtime.core.messages import RunStateGet, TriggeredRun, TriggerRun
from runtime.core.params import check_conf
from runtime.core.specs import decode_dag
from runtime.core.states import RUN_FINISHED, RunState
from runtime.core.timetables import interval_of
from runtime.db.clearing import clear_tasks
from runtime.db.runs import insert_run, reopen, require_dag, require_run
from runtime.db.schema import dag_run, dag_version, event
from runtime.db.transitions import record_run_event
from runtime.service.attempts import Attempt


def trigger(connection: Connection, attempt: Attempt, request: TriggerRun, at: int) -> TriggeredRun:
    """Create the run, or run again the one that is there; ``reason`` says why not."""
    try:
        return _trigger(connection, attempt, request, at)
    except HybridError as error:
        return TriggeredRun(reason=str(error))


def state_of(connection: Connection, request: RunStateGet) -> TriggeredRun:
    """How a run stands; ``reason`` where there is none."""
    try:
        run = require_run(connection, request.dag_id, request.run_id)
    except HybridError as error:
        return TriggeredRun(reason=str(error))
    return TriggeredRun(run.run_id, run.state, run.logical_date)


def _trigger(connection: Connection, attempt: Attempt, request: TriggerRun, at: int) -> TriggeredRun:
    dag = require_dag(connection, request.dag_id)
    run_id = request.run_id or _derived_run_id(attempt, request.dag_id)
    if not is_run_id(run_id):
        raise HybridError(f"run id {run_id!r} is not allowed; use letters, digits and _.~:+- (at most 250, no '..')")
    present = _present(connection, request, run_id)
    if present is not None:
        return _again(connection, attempt, request, present, at)
    if request.unless_paused and dag.is_paused:
        raise HybridError(f"DAG {request.dag_id} is paused")
    spec = decode_dag(
        connection.execute(select(dag_version.c.spec).where(dag_version.c.id == dag.version_id)).scalar_one()
    )
    check_conf(f"DAG {request.dag_id}", spec.params, spec.param_schemas, request.conf)
    logical_date = _logical_date(connection, request, at)
    interval = (None, None) if logical_date is None else interval_of(spec.timetable, logical_date, spec.start_date)
    created = insert_run(
        connection,
        dag_id=request.dag_id,
        run_id=run_id,
        run_type="manual",
        version_id=dag.version_id,
        logical_date=logical_date,
        interval=interval,
        run_after=at,
        conf=request.conf,
        now=at,
        actor=_mark(attempt),
    )
    if created is None:
        raise HybridError(f"somebody else has just created a run of DAG {request.dag_id} with that run id or date")
    return TriggeredRun(run_id, RunState.QUEUED, logical_date)


def _present(connection: Connection, request: TriggerRun, run_id: str) -> Row[Any] | None:
    """The run that has the id or the date already."""
    same = [dag_run.c.run_id == run_id]
    if isinstance(request.logical_date, int):
        same.append(dag_run.c.logical_date == request.logical_date)
    query = select(dag_run).where(dag_run.c.dag_id == request.dag_id, or_(*same)).order_by(dag_run.c.id)
    rows = connection.execute(query).all()
    return next((row for row in rows if row.run_id == run_id), rows[0] if rows else None)


def _again(connection: Connection, attempt: Attempt, request: TriggerRun, run: Row[Any], at: int) -> TriggeredRun:
    ours = select(event.c.id).where(
        event.c.dag_run_id == run.id, event.c.task_instance_id.is_(None), event.c.actor == _mark(attempt)
    )
    if connection.execute(ours.limit(1)).first() is not None:
        return TriggeredRun(run.run_id, run.state, run.logical_date)
    if not request.reset:
        reason = (
            f"DAG {request.dag_id} already has the run {run.run_id}; give another id or date, or reset_dag_run=True"
        )
        return TriggeredRun(run.run_id, run.state, run.logical_date, existed=True, reason=reason)
    if run.id == attempt.row.dag_run_id:
        raise HybridError(f"a task cannot reset the run that it belongs to, {run.run_id}")
    clear_tasks(connection, dag_id=request.dag_id, run_id=run.run_id, now=at)
    state: str = connection.execute(select(dag_run.c.state).where(dag_run.c.id == run.id)).scalar_one()
    if state in RUN_FINISHED:
        # No task of it had begun, so nothing was cleared.
        reopen(connection, run.id, state, at)
        state = RunState.QUEUED
    record_run_event(
        connection, at=at, dag_run_id=run.id, old=run.state, new=state, actor=_mark(attempt), reason="reset"
    )
    return TriggeredRun(run.run_id, state, run.logical_date)


def _mark(attempt: Attempt) -> str:
    """Who acted, as the events say: this try of this task instance, whichever of its launches."""
    return f"task {attempt.row.ti_id} try {attempt.row.try_number}"


def _derived_run_id(attempt: Attempt, dag_id: str) -> str:
    """The same for each launch of a try."""
    digest = hashlib.sha256(f"{_mark(attempt)} {dag_id}".encode()).hexdigest()
    return f"manual__{iso(attempt.row.run_after)}_{digest[:12]}"


def _logical_date(connection: Connection, request: TriggerRun, at: int) -> int | None:
    """As asked; left out: now, or the next free microsecond, for a DAG has one run of a date."""
    if not isinstance(request.logical_date, msgspec.UnsetType):
        return request.logical_date
    query = select(dag_run.c.id).where(dag_run.c.dag_id == request.dag_id)
    while connection.execute(query.where(dag_run.c.logical_date == at)).first() is not None:
        at += 1
    return at
