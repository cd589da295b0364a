"""What people ask: lists of DAGs, runs, task instances, errors, executors. Reads only; moments stay microseconds."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from runtime.core.errors import NotFoundError
from runtime.core.specs import DagSpec, decode_dag
from runtime.core.states import AttemptState
from runtime.db.runs import did_you_mean, require_dag, require_run
from runtime.db.schema import (
    dag,
    dag_run,
    dag_version,
    executor_status,
    import_error,
    scheduler,
    task_attempt,
    task_instance,
)

Record = dict[str, Any]

_RUN_COLUMNS = (
    dag_run.c.dag_id,
    dag_run.c.run_id,
    dag_run.c.run_type,
    dag_run.c.state,
    dag_run.c.logical_date,
    dag_run.c.run_after,
    dag_run.c.start_date,
    dag_run.c.end_date,
    dag_run.c.reason,
)

HEALTH = ("unavailable", "degraded", "paused", "draining", "healthy")
"""Worst first: several schedulers may see one executor differently, and the worst is what matters."""


def list_dags(connection: Connection) -> list[Record]:
    """Active DAGs by id: ``dag_id, is_paused, schedule, rel_path, tags``."""
    rows = connection.execute(
        select(dag.c.dag_id, dag.c.is_paused, dag.c.schedule, dag.c.rel_path, dag.c.tags)
        .where(dag.c.is_active)
        .order_by(dag.c.dag_id)
    )
    return [{**row._mapping, "tags": json.loads(row.tags)} for row in rows]


def list_import_errors(connection: Connection) -> list[Record]:
    """``rel_path, error`` of every file that could not be turned into DAGs."""
    query = select(import_error.c.rel_path, import_error.c.error).order_by(import_error.c.rel_path)
    return [dict(row._mapping) for row in connection.execute(query)]


def list_runs(
    connection: Connection, dag_id: str, *, state: str | None = None, limit: int | None = None
) -> list[Record]:
    """Runs of a DAG, newest first. Raises :class:`NotFoundError` where there is no such DAG."""
    require_dag(connection, dag_id)
    query = select(*_RUN_COLUMNS).where(dag_run.c.dag_id == dag_id)
    if state is not None:
        query = query.where(dag_run.c.state == state)
    query = query.order_by(dag_run.c.run_after.desc(), dag_run.c.id.desc()).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]


def run_progress(connection: Connection, dag_run_id: int) -> dict[str, int]:
    """How many task instances of a run are in each state."""
    query = (
        select(task_instance.c.state, func.count().label("total"))
        .where(task_instance.c.dag_run_id == dag_run_id)
        .group_by(task_instance.c.state)
    )
    return {row.state: row.total for row in connection.execute(query)}


def run_state(connection: Connection, dag_run_id: int) -> Record:
    """``state, logical_date, start_date, end_date`` of a run by its row id."""
    query = select(dag_run.c.state, dag_run.c.logical_date, dag_run.c.start_date, dag_run.c.end_date)
    return dict(connection.execute(query.where(dag_run.c.id == dag_run_id)).one()._mapping)


def dag_spec(connection: Connection, dag_id: str) -> DagSpec:
    """The newest version of a DAG. Raises :class:`NotFoundError`."""
    version = require_dag(connection, dag_id).version_id
    spec: str = connection.execute(select(dag_version.c.spec).where(dag_version.c.id == version)).scalar_one()
    return decode_dag(spec)


def states_for_run(connection: Connection, dag_id: str, run_id: str) -> list[Record]:
    """Each task instance of a run, with its current attempt's executor, host and process. In order of task and index.

    What an attempt brings is ``None`` where there has been none yet; ``heartbeat_at`` is that of a running one only.
    Raises :class:`NotFoundError`.
    """
    run = require_run(connection, dag_id, run_id)
    ti, attempt = task_instance.c, task_attempt.c
    query = (
        select(
            ti.task_id,
            ti.map_index,
            ti.try_number,
            ti.state,
            attempt.executor,
            attempt.executor_reason,
            ti.queue,
            ti.pool,
            ti.priority_weight,
            ti.scheduled_at,
            ti.queued_at,
            ti.start_date,
            ti.end_date,
            attempt.hostname,
            attempt.pid,
            attempt.external_id.label("external_executor_id"),
            ti.infra_losses,
            case((attempt.state == AttemptState.RUNNING, attempt.heartbeat_at)).label("heartbeat_at"),
        )
        .join_from(task_instance, task_attempt, attempt.id == ti.attempt_id, isouter=True)
        .where(ti.dag_run_id == run.id)
        .order_by(ti.task_id, ti.map_index)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def dispatches(
    connection: Connection, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int | None
) -> list[Record]:
    """The attempts of one try, oldest first: ``id, try_number, dispatch_number, executor, state, reason`` (why it
    waits, or how it ended), ``hostname`` (``None`` before the start), ``external_id, queue``.

    ``try_number`` ``None`` is the newest try. Raises :class:`NotFoundError` where run, task or try do not exist.
    """
    instance = _require_task(connection, require_run(connection, dag_id, run_id), task_id, map_index)
    attempt = task_attempt.c
    wanted = instance.try_number if try_number is None else try_number
    rows = connection.execute(
        select(
            attempt.id,
            attempt.try_number,
            attempt.dispatch_number,
            attempt.executor,
            attempt.state,
            attempt.reason,
            attempt.hostname,
            attempt.external_id,
        )
        .where(attempt.task_instance_id == instance.id, attempt.try_number == wanted)
        .order_by(attempt.dispatch_number)
    )
    found = [{**row._mapping, "queue": instance.queue} for row in rows]
    if not found:
        have = f"it has had {instance.try_number}" if instance.try_number else f"it is {instance.state}"
        raise NotFoundError(f"task {task_id} of run {run_id} has no try {wanted or 1} yet; {have}")
    return found


def _require_task(connection: Connection, run: Row[Any], task_id: str, map_index: int) -> Row[Any]:
    rows = connection.execute(select(task_instance).where(task_instance.c.dag_run_id == run.id)).all()
    of_task = [row for row in rows if row.task_id == task_id]
    if not of_task:
        near = did_you_mean(task_id, {row.task_id for row in rows})
        raise NotFoundError(f"run {run.run_id} of DAG {run.dag_id} has no task {task_id!r}{near}")
    for row in of_task:
        if row.map_index == map_index:
            return row
    indexes = ", ".join(str(row.map_index) for row in sorted(of_task, key=lambda row: row.map_index)[:10])
    raise NotFoundError(f"task {task_id} of run {run.run_id} has no map index {map_index}; it has {indexes}")


def live_schedulers(connection: Connection, *, since: int) -> list[Record]:
    """Schedulers whose last heartbeat is not older than ``since``: ``id, hostname, pid, started_at, heartbeat_at``."""
    columns = scheduler.c
    query = (
        select(columns.id, columns.hostname, columns.pid, columns.started_at, columns.heartbeat_at)
        .where(columns.ended_at.is_(None), columns.heartbeat_at >= since)
        .order_by(columns.started_at, columns.id)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def executor_statuses(connection: Connection, *, since: int) -> list[Record]:
    """What live schedulers last wrote of each of their executors, a row per scheduler and executor."""
    query = (
        select(executor_status)
        .join(scheduler, scheduler.c.id == executor_status.c.scheduler_id)
        .where(scheduler.c.ended_at.is_(None), scheduler.c.heartbeat_at >= since)
        .order_by(executor_status.c.name, executor_status.c.scheduler_id)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def executor_figures(connection: Connection, *, since: int) -> dict[str, Record]:
    """By executor: ``open_slots, queued, running`` of all live schedulers, the worst ``health`` and its ``reason``."""
    found: dict[str, Record] = {}
    for row in executor_statuses(connection, since=since):
        total = found.setdefault(
            row["name"], {"open_slots": 0, "queued": 0, "running": 0, "health": row["health"], "reason": row["reason"]}
        )
        for key in ("open_slots", "queued", "running"):
            total[key] += row[key]
        if _badness(row["health"]) < _badness(total["health"]):
            total["health"], total["reason"] = row["health"], row["reason"]
    return found


def _badness(health: str) -> int:
    return HEALTH.index(health) if health in HEALTH else -1
