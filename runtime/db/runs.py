"""Runs: creating them, pausing their DAG, opening them again. Each function works inside the caller's transaction."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runtime.core.errors import HybridError, NotFoundError
from runtime.core.ids import is_run_id, manual_run_id
from runtime.core.params import check_conf
from runtime.core.specs import decode_dag
from runtime.core.states import RUN_FINISHED, RunState
from runtime.core.timetables import interval_of
from runtime.db.schema import dag, dag_run, dag_version
from runtime.db.transitions import record_run_event


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
        why = f" ({row.pause_reason})" if row.pause_reason else ""
        raise HybridError(f"DAG {dag_id} is paused{why}; run `hybrid dags unpause {dag_id}` first")
    spec = decode_dag(
        connection.execute(select(dag_version.c.spec).where(dag_version.c.id == row.version_id)).scalar_one()
    )
    check_conf(f"DAG {dag_id}", spec.params, spec.param_schemas, conf)
    run_id = run_id or _free_manual_id(connection, dag_id, now)
    if not is_run_id(run_id):
        raise HybridError(f"run id {run_id!r} is not allowed; use letters, digits and _.~:+- (at most 250, no '..')")
    if connection.execute(select(dag_run.c.id).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)).first():
        raise HybridError(f"DAG {dag_id} already has a run {run_id}; choose another --run-id")
    if logical_date is not None and (taken := run_at(connection, dag_id, logical_date)):
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
    backfill_id: int | None = None,
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
            backfill_id=backfill_id,
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
    connection.execute(update(dag).where(dag.c.dag_id == dag_id).values(is_paused=paused, pause_reason=None))


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


def run_at(connection: Connection, dag_id: str, logical_date: int) -> str | None:
    """The id of the DAG's run at a logical date."""
    query = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id, dag_run.c.logical_date == logical_date)
    return connection.execute(query).scalar()


def reopen(
    connection: Connection,
    dag_run_id: int,
    state: str,
    now: int,
    *,
    actor: str = "clear",
    reason: str = "tasks were cleared",
) -> None:
    """Queue a run again that has ended in ``state``; one that has not is left alone."""
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
        actor=actor,
        reason=reason,
    )
