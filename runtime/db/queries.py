"""What people ask: lists of DAGs, runs, task instances, errors, executors. Reads only; moments stay microseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
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
    xcom,
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
    connection: Connection,
    dag_id: str,
    *,
    state: str | None = None,
    limit: int | None = None,
    start_date: int | None = None,
    end_date: int | None = None,
    backfills: bool = True,
) -> list[Record]:
    """Runs of a DAG, newest first. Raises :class:`NotFoundError` where there is no such DAG.

    :param start_date: only of this logical date or a later one; ``end_date``: or an earlier one.
    :param backfills: also those that a backfill has made.
    """
    require_dag(connection, dag_id)
    query = select(*_RUN_COLUMNS).where(dag_run.c.dag_id == dag_id)
    if state is not None:
        query = query.where(dag_run.c.state == state)
    if start_date is not None:
        query = query.where(dag_run.c.logical_date >= start_date)
    if end_date is not None:
        query = query.where(dag_run.c.logical_date <= end_date)
    if not backfills:
        query = query.where(dag_run.c.run_type != "backfill")
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


def dag_details(connection: Connection, dag_id: str) -> Record:
    """Everything of one DAG, under Airflow's names. Raises :class:`NotFoundError`."""
    row, spec = require_dag(connection, dag_id), dag_spec(connection, dag_id)
    failed = select(import_error.c.rel_path).where(import_error.c.rel_path == row.rel_path)
    number = select(dag_version.c.version_number).where(dag_version.c.id == row.version_id)
    return {
        "dag_id": dag_id,
        "is_paused": row.is_paused,
        "pause_reason": row.pause_reason,
        "relative_fileloc": row.rel_path,
        "version_number": connection.execute(number).scalar(),
        "last_parsed_time": row.last_parsed_at,
        "has_import_errors": connection.execute(failed).first() is not None,
        "owners": [row.owner],
        "description": row.description,
        "tags": json.loads(row.tags),
        "timetable_summary": row.schedule,
        "timezone": spec.timetable.timezone,
        "start_date": spec.start_date,
        "end_date": spec.end_date,
        "catchup": spec.catchup,
        "max_active_tasks": spec.max_active_tasks,
        "max_active_runs": spec.max_active_runs,
        "max_consecutive_failed_dag_runs": spec.max_consecutive_failed_dag_runs,
        "dagrun_timeout": spec.dagrun_timeout,
        "params": spec.params,
        "task_num": len(spec.tasks),
        "next_dagrun_logical_date": row.next_logical_date,
        "next_dagrun_data_interval_end": row.next_interval_end,
        "next_dagrun_run_after": row.next_run_after,
    }


def file_of(connection: Connection, dag_id: str) -> str:
    """The path of its file below the DAGs folder, also of a DAG that is no longer active. Raises as above."""
    path: str | None = connection.execute(select(dag.c.rel_path).where(dag.c.dag_id == dag_id)).scalar()
    return path if path is not None else str(require_dag(connection, dag_id).rel_path)


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


def task_state(connection: Connection, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> Record:
    """``task_id, map_index, state, try_number, reason`` of one task instance. Raises :class:`NotFoundError`."""
    instance = _require_task(connection, require_run(connection, dag_id, run_id), task_id, map_index)
    return {key: getattr(instance, key) for key in ("task_id", "map_index", "state", "try_number", "reason")}


def xcom_values(
    connection: Connection, dag_id: str, run_id: str, task_ids: Sequence[str], *, key: str, map_index: int | None
) -> list[tuple[str, int, msgspec.Raw]]:
    """(task id, map index, JSON) of the XComs under ``key``, in the order of ``task_ids``; no error where none are."""
    query = (
        select(xcom.c.task_id, xcom.c.map_index, xcom.c.value)
        .join(dag_run, dag_run.c.id == xcom.c.dag_run_id)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)
        .where(xcom.c.task_id.in_(task_ids), xcom.c.key == key)
    )
    if map_index is not None:
        query = query.where(xcom.c.map_index == map_index)
    order = {task_id: position for position, task_id in enumerate(task_ids)}
    rows = sorted(connection.execute(query), key=lambda row: (order[row.task_id], row.map_index))
    return [(row.task_id, row.map_index, msgspec.Raw(row.value.encode())) for row in rows]


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
