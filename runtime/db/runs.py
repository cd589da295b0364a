"""Runs: creating them, pausing their DAG, clearing their tasks. Each function works inside the caller's transaction."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runtime.core.errors import HybridError, NotFoundError
from runtime.core.ids import is_run_id, manual_run_id
from runtime.core.specs import decode_dag
from runtime.core.states import RUN_FINISHED, TASK_ACTIVE, TASK_FINISHED, AttemptState, RunState, TaskState
from runtime.core.timetables import interval_of
from runtime.db.schema import dag, dag_run, dag_version, task_attempt, task_instance
from runtime.db.transitions import Batch, Subject, record_run_event


@dataclass(frozen=True)
class CreatedRun:
    id: int
    dag_id: str
    run_id: str
    logical_date: int | None


def create_manual_run(
    connection: Connection,
    *,
    dag_id: str,
    run_id: str | None,
    conf: dict[str, Any],
    logical_date: int | None,
    now: int,
    even_if_paused: bool = False,
) -> CreatedRun:
    """Insert a queued run of the DAG's current version.

    Raises :class:`NotFoundError` (no such DAG) and :class:`HybridError` (paused, bad run id, run exists already).
    """
    row = require_dag(connection, dag_id)
    if row.is_paused and not even_if_paused:
        raise HybridError(f"DAG {dag_id} is paused; run `hybrid dags unpause {dag_id}` first")
    run_id = run_id or _free_manual_id(connection, dag_id, now)
    if not is_run_id(run_id):
        raise HybridError(f"run id {run_id!r} is not allowed; use letters, digits and _.~:+- (at most 250, no '..')")
    if connection.execute(select(dag_run.c.id).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)).first():
        raise HybridError(f"DAG {dag_id} already has a run {run_id}; choose another --run-id")
    if logical_date is not None and (taken := _run_at(connection, dag_id, logical_date)):
        raise HybridError(f"DAG {dag_id} already has a run at that logical date: {taken}")
    identifier = insert_run(
        connection,
        dag_id=dag_id,
        run_id=run_id,
        run_type="manual",
        version_id=row.version_id,
        logical_date=logical_date,
        interval=_interval(connection, row.version_id, logical_date),
        run_after=now,
        conf=conf,
        now=now,
        actor="cli",
    )
    if identifier is None:
        raise HybridError(f"somebody else has just created a run of DAG {dag_id} with that run id or logical date")
    return CreatedRun(identifier, dag_id, run_id, logical_date)


def insert_run(
    connection: Connection,
    *,
    dag_id: str,
    run_id: str,
    run_type: str,
    version_id: str,
    logical_date: int | None,
    interval: tuple[int | None, int | None],
    run_after: int,
    conf: dict[str, Any],
    now: int,
    actor: str,
) -> int | None:
    """Insert a queued run and return its id; ``None`` where the DAG has one of that id or date already."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(dag_run)
        .values(
            dag_id=dag_id,
            run_id=run_id,
            run_type=run_type,
            state=RunState.QUEUED,
            version_id=version_id,
            logical_date=logical_date,
            data_interval_start=interval[0],
            data_interval_end=interval[1],
            run_after=run_after,
            conf=json.dumps(conf),
            queued_at=now,
            lease_epoch=0,
        )
        .on_conflict_do_nothing()
        .returning(dag_run.c.id)
    )
    identifier: int | None = connection.execute(statement).scalar()
    if identifier is None:
        return None
    record_run_event(connection, at=now, dag_run_id=identifier, old=None, new=RunState.QUEUED, actor=actor)
    return identifier


def set_paused(connection: Connection, dag_id: str, paused: bool) -> None:
    """Pause or unpause. Raises :class:`NotFoundError`."""
    require_dag(connection, dag_id)
    connection.execute(update(dag).where(dag.c.dag_id == dag_id).values(is_paused=paused))


def clear_tasks(
    connection: Connection,
    *,
    dag_id: str,
    run_id: str | None = None,
    task_regex: str | None = None,
    only_failed: bool = False,
    now: int,
) -> int:
    """Make finished task instances run again; return how many were cleared.

    One that is queued or running now is stopped first (*restarting*). A finished run that has cleared tasks is queued
    again. Raises :class:`NotFoundError` (no such DAG, run or task) and :class:`HybridError` (bad expression).
    """
    chosen = _choose(connection, dag_id, run_id, task_regex)
    states = (
        {TaskState.FAILED, TaskState.UPSTREAM_FAILED}
        if only_failed
        else TASK_FINISHED | TASK_ACTIVE | {TaskState.UP_FOR_RETRY}
    )
    chosen = [row for row in chosen if TaskState(row.state) in states]
    batch = Batch(now, "clear")
    for row in chosen:
        _clear_one(batch, row)
    batch.write(connection)
    _grant_new_tries(connection, chosen)
    for identifier, state in {(row.dag_run_id, row.run_state) for row in chosen}:
        _reopen(connection, identifier, state, now)
    return len(chosen)


def require_dag(connection: Connection, dag_id: str) -> Row[Any]:
    """The DAG's row. Raises :class:`NotFoundError` with near names."""
    row = connection.execute(select(dag).where(dag.c.dag_id == dag_id)).first()
    if row is None or not row.is_active:
        names = connection.execute(select(dag.c.dag_id).where(dag.c.is_active)).scalars().all()
        raise NotFoundError(f"there is no DAG {dag_id!r}{did_you_mean(dag_id, names)}; see `hybrid dags list`")
    return row


def require_run(connection: Connection, dag_id: str, run_id: str) -> Row[Any]:
    """The run's row. Raises :class:`NotFoundError` with near names."""
    require_dag(connection, dag_id)
    row = connection.execute(select(dag_run).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)).first()
    if row is None:
        names = connection.execute(select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id)).scalars().all()
        raise NotFoundError(
            f"DAG {dag_id} has no run {run_id!r}{did_you_mean(run_id, names)}; see `hybrid dags list-runs {dag_id}`"
        )
    return row


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """``, did you mean 'x'?`` where something near exists, else nothing."""
    near = difflib.get_close_matches(text, list(names), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _free_manual_id(connection: Connection, dag_id: str, now: int) -> str:
    query = select(dag_run.c.id).where(dag_run.c.dag_id == dag_id)
    number = 0
    while True:
        candidate = manual_run_id(now, f"_{number}" if number else "")
        if connection.execute(query.where(dag_run.c.run_id == candidate)).first() is None:
            return candidate
        number += 1


def _interval(connection: Connection, version_id: str, logical_date: int | None) -> tuple[int | None, int | None]:
    """The data interval of a manual run: the schedule's last one that ended by its logical date, as in Airflow."""
    if logical_date is None:
        return None, None
    spec = decode_dag(connection.execute(select(dag_version.c.spec).where(dag_version.c.id == version_id)).scalar_one())
    return interval_of(spec.timetable, logical_date, spec.start_date)


def _run_at(connection: Connection, dag_id: str, logical_date: int) -> str | None:
    query = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id, dag_run.c.logical_date == logical_date)
    return connection.execute(query).scalar()


def _choose(connection: Connection, dag_id: str, run_id: str | None, task_regex: str | None) -> list[Row[Any]]:
    query = (
        select(
            task_instance,
            dag_run.c.version_id,
            dag_run.c.state.label("run_state"),
            task_attempt.c.state.label("attempt_state"),
        )
        .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
        .join(task_attempt, task_attempt.c.id == task_instance.c.attempt_id, isouter=True)
        .order_by(task_instance.c.id)
        .with_for_update(of=task_instance, key_share=True)
    )
    require_dag(connection, dag_id)
    runs = dag_run.c.dag_id == dag_id
    if run_id is not None:
        runs = dag_run.c.id == require_run(connection, dag_id, run_id).id
    _lock(connection, runs)
    rows = list(connection.execute(query.where(runs)))
    if task_regex is None:
        return rows
    try:
        pattern = re.compile(task_regex)
    except re.error as error:
        raise HybridError(f"--task-regex {task_regex!r} is no regular expression: {error}") from error
    matching = [row for row in rows if pattern.search(row.task_id)]
    if not matching:
        raise NotFoundError(
            f"no task of DAG {dag_id} matches {task_regex!r}{did_you_mean(task_regex, {r.task_id for r in rows})}"
        )
    return matching


def _lock(connection: Connection, runs: ColumnElement[bool]) -> None:
    """Hold the runs, so that none ends meanwhile, and what workers may hold, in the order in which they take it."""
    connection.execute(select(dag_run.c.id).where(runs).order_by(dag_run.c.id).with_for_update(key_share=True))
    connection.execute(
        select(task_attempt.c.id)
        .join(task_instance, task_instance.c.attempt_id == task_attempt.c.id)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(runs)
        .order_by(task_instance.c.id)
        .with_for_update(of=[task_attempt, task_instance], key_share=True)
    )


def _clear_one(batch: Batch, row: Row[Any]) -> None:
    state = TaskState(row.state)
    subject = Subject(row.id, row.dag_run_id, state, row.attempt_id, row.task_id)
    if state is TaskState.RESTARTING:
        return
    if state in TASK_ACTIVE:
        batch.end(subject, TaskState.RESTARTING, reason="cleared")
        if row.attempt_state == AttemptState.QUEUED:
            # Nobody was granted the start, and nobody will be: the attempt ends here and there is nothing to wait for.
            batch.end_attempt(row.attempt_id, AttemptState.LOST, "cleared before it started")
            restarting = Subject(row.id, row.dag_run_id, TaskState.RESTARTING, row.attempt_id, row.task_id)
            batch.end(restarting, TaskState.NONE, reason="cleared")
    else:
        batch.end(subject, TaskState.NONE, reason="cleared")
    batch.notify(row.dag_run_id, "cleared", row.id, row.attempt_id)


def _grant_new_tries(connection: Connection, chosen: list[Row[Any]]) -> None:
    """A cleared task may fail as often again as its author allowed (Airflow: ``max_tries = try_number + retries``)."""
    versions = {row.version_id for row in chosen}
    specs = connection.execute(select(dag_version.c.id, dag_version.c.spec).where(dag_version.c.id.in_(versions)))
    retries = {(version, task.task_id): task.retries for version, spec in specs for task in decode_dag(spec).tasks}
    rows = [{"b_id": row.id, "v_max": row.try_number + retries.get((row.version_id, row.task_id), 0)} for row in chosen]
    if rows:
        connection.execute(
            update(task_instance)
            .where(task_instance.c.id == bindparam("b_id"))
            .values(max_tries=bindparam("v_max"), infra_losses=0),
            rows,
        )


def _reopen(connection: Connection, dag_run_id: int, state: str, now: int) -> None:
    if RunState(state) not in RUN_FINISHED:
        return
    connection.execute(
        update(dag_run)
        .where(dag_run.c.id == dag_run_id, dag_run.c.state == state)
        .values(state=RunState.QUEUED, queued_at=now, end_date=None, lease_owner=None, reason=None)
    )
    record_run_event(
        connection,
        at=now,
        dag_run_id=dag_run_id,
        old=state,
        new=RunState.QUEUED,
        actor="clear",
        reason="tasks were cleared",
    )
