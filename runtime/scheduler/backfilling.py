"""Making the next runs of the backfills under way, as far as their own ``max_active_runs`` lets them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from runtime.db.backfills import pending_dates
from runtime.db.reruns import MADE, Making, Reprocess, make_run
from runtime.db.schema import backfill, backfill_run, dag, dag_run, run_is_open

SKIPPED_AT_ONCE = 200
"""Dates looked at in one step, of each backfill, though nothing is made of them."""

under_way = exists().where(
    backfill.c.completed_at.is_(None),
    backfill.c.is_paused.is_(False),
    dag.c.dag_id == backfill.c.dag_id,
    dag.c.is_paused.is_(False),
    dag.c.is_active,
)
"""Whether any backfill may have something to do."""


def advance_backfills(connection: Connection, *, limit: int, at: int, actor: str) -> int:
    """Make up to ``limit`` runs; return how many. A backfill with nothing left to make and no open run is completed.

    Its row is locked, so that no two schedulers fill the same place. Runs of a paused DAG or backfill are not made.
    """
    query = (
        select(backfill, dag.c.version_id)
        .join(dag, dag.c.dag_id == backfill.c.dag_id)
        .where(backfill.c.completed_at.is_(None), backfill.c.is_paused.is_(False))
        .where(dag.c.is_paused.is_(False), dag.c.is_active)
        .order_by(backfill.c.id)
        .with_for_update(of=backfill, skip_locked=True, key_share=True)
    )
    made = 0
    for row in connection.execute(query).all():
        made += _advance(connection, row, limit - made, at, actor)
    return made


def _advance(connection: Connection, row: Row[Any], limit: int, at: int, actor: str) -> int:
    open_runs = connection.execute(
        select(func.count())
        .select_from(dag_run)
        .where(run_is_open, dag_run.c.dag_id == row.dag_id, dag_run.c.backfill_id == row.id)
    ).scalar_one()
    room = min(limit, row.max_active_runs - open_runs)
    if open_runs and room <= 0:
        return 0
    dates = pending_dates(connection, row, SKIPPED_AT_ONCE)
    if not dates and not open_runs:
        connection.execute(update(backfill).where(backfill.c.id == row.id).values(completed_at=at))
        return 0
    making = Making(row.id, row.dag_id, row.version_id, Reprocess(row.reprocess_behavior), json.loads(row.conf), actor)
    made, ordinal = 0, row.next_ordinal
    for date in dates:
        if made >= room:
            break
        identifier, outcome = make_run(connection, making, date, at)
        made += outcome == MADE
        ordinal = date.ordinal + 1
        connection.execute(
            update(backfill_run)
            .where(backfill_run.c.backfill_id == row.id, backfill_run.c.ordinal == date.ordinal)
            .values(dag_run_id=identifier, outcome=outcome)
        )
    if ordinal != row.next_ordinal:
        connection.execute(update(backfill).where(backfill.c.id == row.id).values(next_ordinal=ordinal))
    return made
