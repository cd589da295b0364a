"""Backfills: making the runs of a stretch of the past, a few at a time, in order.

A backfill knows all its dates from the start, in ``backfill_run``; the scheduler makes runs of them as those before
end, so that a backfill of ten years keeps no more runs open than one of a week.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, func, insert, select, update

from runtime.core.clock import iso
from runtime.core.errors import HybridError, NotFoundError
from runtime.core.params import check_conf
from runtime.core.specs import DagSpec, decode_dag
from runtime.core.states import RunState
from runtime.core.timetables import DueRun, is_periodic, runs_between
from runtime.db.reruns import Reprocess, unmakable
from runtime.db.runs import require_dag
from runtime.db.schema import backfill, backfill_run, dag_run, dag_version, run_is_open
from runtime.db.transitions import record_run_event

MOST_RUNS = 100_000
CANCELLED = "cancelled"
_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class BackfillOrder:
    """What somebody wants; moments in microseconds."""

    dag_id: str
    from_date: int
    to_date: int
    conf: dict[str, Any]
    reprocess: Reprocess = Reprocess.NONE
    run_backwards: bool = False
    max_active_runs: int = 10


@dataclass(frozen=True, slots=True)
class BackfillDate:
    """One of its dates. ``run_id`` is of the run that is there already, ``outcome`` why none would be made."""

    due: DueRun
    run_id: str | None = None
    outcome: str | None = None


def plan_backfill(connection: Connection, order: BackfillOrder, now: int) -> list[BackfillDate]:
    """Its dates in order, and what would become of each now.

    Raises :class:`NotFoundError` (no such DAG) and :class:`HybridError` for what cannot be done.
    """
    version = require_dag(connection, order.dag_id).version_id
    spec = decode_dag(connection.execute(select(dag_version.c.spec).where(dag_version.c.id == version)).scalar_one())
    _check(spec, order, now)
    check_conf(f"DAG {order.dag_id}", spec.params, spec.param_schemas, order.conf)
    runs = []
    for due in runs_between(spec.timetable, order.from_date, order.to_date, now=now, start_date=spec.start_date):
        runs.append(due)
        if len(runs) > MOST_RUNS:
            raise HybridError(f"more than {MOST_RUNS} runs between these dates; backfill them in parts")
    if not runs:
        raise HybridError(
            f"DAG {order.dag_id} ({spec.timetable.summary}) has no runs to make "
            f"from {iso(order.from_date)} to {iso(order.to_date)}"
        )
    present = _present(connection, order)
    ordered = reversed(runs) if order.run_backwards else runs
    return [_date(due, present.get(due.logical_date), order) for due in ordered]


def create_backfill(connection: Connection, order: BackfillOrder, now: int) -> tuple[int, int]:
    """Write a backfill down; its id, and how many dates it has.

    Raises what :func:`plan_backfill` does, and :class:`HybridError` where the DAG has one under way.
    """
    dates = plan_backfill(connection, order, now)
    active = select(backfill.c.id).where(backfill.c.dag_id == order.dag_id, backfill.c.completed_at.is_(None))
    if (other := connection.execute(active).scalar()) is not None:
        raise HybridError(
            f"DAG {order.dag_id} has a backfill under way, {other}; "
            f"wait for it, or run `hybrid backfill cancel {other}`"
        )
    values = {
        "dag_id": order.dag_id,
        "from_date": order.from_date,
        "to_date": order.to_date,
        "conf": json.dumps(order.conf),
        "is_paused": False,
        "reprocess_behavior": order.reprocess.value,
        "run_backwards": order.run_backwards,
        "max_active_runs": order.max_active_runs,
        "next_ordinal": 1,
        "created_at": now,
    }
    identifier = connection.execute(insert(backfill).values(values).returning(backfill.c.id)).scalar_one()
    rows = [
        {
            "backfill_id": identifier,
            "ordinal": number,
            "logical_date": date.due.logical_date,
            "data_interval_start": date.due.data_interval_start,
            "data_interval_end": date.due.data_interval_end,
            "run_after": date.due.run_after,
        }
        for number, date in enumerate(dates, start=1)
    ]
    for first in range(0, len(rows), _ROWS):
        connection.execute(insert(backfill_run), rows[first : first + _ROWS])
    return identifier, len(rows)


def list_backfills(connection: Connection, dag_id: str | None = None) -> list[dict[str, Any]]:
    """Newest first, each with how many runs it has had ``made`` and ``skipped``, and how many it has in all.

    Raises :class:`NotFoundError` where there is no such DAG.
    """
    if dag_id is not None:
        require_dag(connection, dag_id)
    made = func.count(backfill_run.c.dag_run_id)
    query = (
        select(
            backfill,
            func.count(backfill_run.c.ordinal).label("total_runs"),
            made.label("made_runs"),
            func.count(backfill_run.c.outcome).label("told_runs"),
        )
        .join(backfill_run, backfill_run.c.backfill_id == backfill.c.id)
        .group_by(backfill.c.id)
        .order_by(backfill.c.id.desc())
    )
    if dag_id is not None:
        query = query.where(backfill.c.dag_id == dag_id)
    return [dict(row._mapping) for row in connection.execute(query)]


def require_backfill(connection: Connection, identifier: int, *, lock: bool = False) -> Row[Any]:
    """Its row. Raises :class:`NotFoundError`."""
    query = select(backfill).where(backfill.c.id == identifier)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).first()
    if row is None:
        raise NotFoundError(f"there is no backfill {identifier}; see `hybrid backfill list`")
    return row


def set_backfill_paused(connection: Connection, identifier: int, paused: bool) -> None:
    """Make no new runs of it, or go on. Raises :class:`NotFoundError`, and :class:`HybridError` where it is over."""
    _require_active(connection, identifier)
    connection.execute(update(backfill).where(backfill.c.id == identifier).values(is_paused=paused))


def cancel_backfill(connection: Connection, identifier: int, now: int) -> int:
    """Make no more runs of it; those that are queued fail, those that run go on. Return how many dates were left.

    Raises :class:`NotFoundError`, and :class:`HybridError` where it is over.
    """
    row = _require_active(connection, identifier)
    left = connection.execute(
        update(backfill_run)
        .where(backfill_run.c.backfill_id == identifier, backfill_run.c.ordinal >= row.next_ordinal)
        .values(outcome=CANCELLED)
    ).rowcount
    waiting = select(dag_run.c.id).where(
        run_is_open,
        dag_run.c.dag_id == row.dag_id,
        dag_run.c.backfill_id == identifier,
        dag_run.c.state == RunState.QUEUED,
    )
    reason = f"backfill {identifier} was cancelled"
    for run in connection.execute(waiting.with_for_update(key_share=True)).scalars().all():
        ended = update(dag_run).where(dag_run.c.id == run, dag_run.c.state == RunState.QUEUED)
        connection.execute(ended.values(state=RunState.FAILED, end_date=now, reason=reason))
        record_run_event(
            connection, at=now, dag_run_id=run, old=RunState.QUEUED, new=RunState.FAILED, actor="cli", reason=reason
        )
    connection.execute(update(backfill).where(backfill.c.id == identifier).values(completed_at=now, reason=CANCELLED))
    return left


def backfill_progress(connection: Connection, identifier: int) -> dict[str, int]:
    """How many of its dates are in each state: those of runs, ``waiting``, or why no run was made of them."""
    query = (
        select(backfill_run.c.outcome, dag_run.c.state, func.count().label("dates"))
        .join(dag_run, dag_run.c.id == backfill_run.c.dag_run_id, isouter=True)
        .where(backfill_run.c.backfill_id == identifier)
        .group_by(backfill_run.c.outcome, dag_run.c.state)
    )
    counts: dict[str, int] = {}
    for row in connection.execute(query):
        word = row.state or row.outcome or "waiting"
        counts[word] = counts.get(word, 0) + row.dates
    return counts


def _require_active(connection: Connection, identifier: int) -> Row[Any]:
    row = require_backfill(connection, identifier, lock=True)
    if row.completed_at is not None:
        raise HybridError(f"backfill {identifier} is over: {row.reason or 'completed'} at {iso(row.completed_at)}")
    return row


def _check(spec: DagSpec, order: BackfillOrder, now: int) -> None:
    if order.from_date > order.to_date:
        raise HybridError(f"--from-date {iso(order.from_date)} is after --to-date {iso(order.to_date)}")
    if order.from_date > now:
        raise HybridError(f"--from-date {iso(order.from_date)} is in the future; a backfill makes runs of the past")
    if order.max_active_runs < 1:
        raise HybridError(f"--max-active-runs {order.max_active_runs}; it must be at least 1")
    if not is_periodic(spec.timetable):
        raise HybridError(
            f"DAG {spec.dag_id} has schedule {spec.timetable.summary}, which tells no dates between two others; "
            "use `hybrid dags trigger --logical-date`"
        )
    if not any(task.depends_on_past for task in spec.tasks):
        return
    if order.run_backwards:
        raise HybridError(f"DAG {spec.dag_id} has tasks with depends_on_past; leave out --run-backwards")
    if order.reprocess is Reprocess.NONE:
        raise HybridError(
            f"DAG {spec.dag_id} has tasks with depends_on_past; use --reprocess-behavior failed or completed"
        )


def _present(connection: Connection, order: BackfillOrder) -> dict[int, Row[Any]]:
    query = select(dag_run.c.logical_date, dag_run.c.run_id, dag_run.c.state).where(
        dag_run.c.dag_id == order.dag_id, dag_run.c.logical_date.between(order.from_date, order.to_date)
    )
    return {row.logical_date: cast("Row[Any]", row) for row in connection.execute(query)}


def _date(due: DueRun, present: Row[Any] | None, order: BackfillOrder) -> BackfillDate:
    if present is None:
        return BackfillDate(due)
    return BackfillDate(due, present.run_id, unmakable(present.state, order.reprocess))


def pending_dates(connection: Connection, row: Row[Any], limit: int) -> Sequence[Row[Any]]:
    """The next dates of a backfill, in order, of which nothing has been made yet."""
    query = (
        select(backfill_run)
        .where(backfill_run.c.backfill_id == row.id, backfill_run.c.ordinal >= row.next_ordinal)
        .order_by(backfill_run.c.ordinal)
        .limit(limit)
    )
    return connection.execute(query).all()
