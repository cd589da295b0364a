"""Creating the scheduled runs that are due. The unique key (DAG, logical date) forbids a second one of a date."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from runtime.core.ids import scheduled_run_id
from runtime.core.timetables import DueRun
from runtime.db.dags import due_run, store_due_run
from runtime.db.runs import insert_run
from runtime.db.schema import dag, dag_run, run_is_open
from runtime.scheduler.loading import GraphCache

log = logging.getLogger(__name__)


def create_due_runs(connection: Connection, graphs: GraphCache, *, limit: int, at: int, actor: str) -> int:
    """Insert up to ``limit`` runs; return how many. A DAG with ``max_active_runs`` open scheduled runs waits."""
    open_runs = _open_runs().where(dag_run.c.dag_id == dag.c.dag_id).scalar_subquery()
    query = (
        select(dag)
        .where(dag.c.is_active, dag.c.is_paused.is_(False), dag.c.next_run_after <= at)
        # Else those that wait for their own runs would fill the limit, and hide the others for ever.
        .where(dag.c.max_active_runs > open_runs)
        .order_by(dag.c.next_run_after, dag.c.dag_id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    created = 0
    for row in connection.execute(query).all():
        try:
            created += _create_for(connection, row, graphs, limit - created, at, actor)
        except SQLAlchemyError:
            raise
        except Exception:
            log.exception("the next run of DAG %s cannot be told; it gets none until its file changes", row.dag_id)
            store_due_run(connection, row.dag_id, None)
        if created >= limit:
            break
    return created


def _create_for(connection: Connection, row: Row[Any], graphs: GraphCache, limit: int, at: int, actor: str) -> int:
    open_runs = connection.execute(_open_runs().where(dag_run.c.dag_id == row.dag_id)).scalar_one()
    room = min(limit, row.max_active_runs - open_runs)
    spec = graphs.get(connection, row.version_id).spec
    created = 0
    # Not what the row says: it may be days old where the DAG was paused, and without catchup only the latest counts.
    due = due_run(connection, spec, at, planned=row.next_logical_date)
    while due is not None and due.run_after <= at and created < room:
        created += _insert(connection, row, due, at, actor)
        due = due_run(connection, spec, at, after=due)
    store_due_run(connection, row.dag_id, due)
    return created


def _open_runs() -> Select[int]:
    of_schedule = dag_run.c.run_type == "scheduled", dag_run.c.backfill_id.is_(None)
    return select(func.count(dag_run.c.id)).where(*of_schedule, run_is_open)


def _insert(connection: Connection, row: Row[Any], due: DueRun, at: int, actor: str) -> bool:
    """Return whether the run is new: somebody may have triggered one of that date by hand."""
    identifier = insert_run(
        connection,
        dag_id=row.dag_id,
        run_id=scheduled_run_id(due.logical_date),
        run_type="scheduled",
        version_id=row.version_id,
        logical_date=due.logical_date,
        interval=(due.data_interval_start, due.data_interval_end),
        run_after=due.run_after,
        conf={},
        now=at,
        actor=actor,
    )
    return identifier is not None
