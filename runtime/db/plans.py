"""Planned runs of custom timetables: the DAG processor's children work them out, the scheduler takes them from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from runtime.core.clock import SECOND
from runtime.core.timetables import LATEST, DueRun
from runtime.db.schema import dag, dag_run, dag_version, planned_run

AHEAD = 20
"""Runs that are planned at once."""
LOW = 5
"""So few left and more are wanted."""
_NEVER = LATEST
"""When the next plan is wanted of a timetable that has said that there are no more runs."""
RETRY_SECONDS = 60.0
"""After a plan that failed."""


@dataclass(frozen=True, slots=True)
class PlanWanted:
    """A DAG whose runs are to be planned, and from where on."""

    dag_id: str
    version_id: str
    rel_path: str
    file_hash: str
    last_interval: tuple[int, int] | None
    """Of the last run that is known or planned."""


def planned_due(
    connection: Connection, dag_id: str, *, after: int | None, end_date: int | None, catchup: bool, at: int
) -> DueRun | None:
    """The next planned run; ``None`` where none is planned. Asks for more where few are left."""
    query = select(planned_run).where(planned_run.c.dag_id == dag_id).order_by(planned_run.c.logical_date)
    rows = [row for row in connection.execute(query) if after is None or row.logical_date > after]
    runs = [DueRun(row.logical_date, row.data_interval_start, row.data_interval_end, row.run_after) for row in rows]
    if len(runs) <= LOW:
        want_plan(connection, dag_id, at)
    runs = [run for run in runs if end_date is None or run.logical_date <= end_date]
    passed = [run for run in runs if run.run_after <= at]
    return passed[-1] if passed and not catchup else next(iter(runs), None)


def planned_ahead(connection: Connection, dag_id: str, first: int | None, count: int) -> list[DueRun]:
    """The planned runs from logical date ``first`` on, at most ``count``; none where that is ``None``."""
    if first is None:
        return []
    query = select(planned_run).where(planned_run.c.dag_id == dag_id, planned_run.c.logical_date >= first)
    rows = connection.execute(query.order_by(planned_run.c.logical_date).limit(count))
    return [DueRun(row.logical_date, row.data_interval_start, row.data_interval_end, row.run_after) for row in rows]


def want_plan(connection: Connection, dag_id: str, at: int, *, anew: bool = False) -> None:
    """Have the DAG processor plan runs. ``anew``: forget those that are planned."""
    if anew:
        connection.execute(delete(planned_run).where(planned_run.c.dag_id == dag_id))
    wanted = update(dag).where(dag.c.dag_id == dag_id).values(plan_wanted_at=at)
    connection.execute(wanted if anew else wanted.where(dag.c.plan_wanted_at.is_(None)))


def plans_wanted(connection: Connection, at: int, *, limit: int) -> list[PlanWanted]:
    """The DAGs that wait longest for a plan."""
    query = (
        select(dag.c.dag_id, dag.c.version_id, dag_version.c.rel_path, dag_version.c.file_hash)
        .join(dag_version, dag_version.c.id == dag.c.version_id)
        .where(dag.c.plan_wanted_at <= at, dag.c.is_active)
        .order_by(dag.c.plan_wanted_at, dag.c.dag_id)
        .limit(limit)
    )
    return [
        PlanWanted(row.dag_id, row.version_id, row.rel_path, row.file_hash, last_interval(connection, row.dag_id))
        for row in connection.execute(query).all()
    ]


def last_interval(connection: Connection, dag_id: str) -> tuple[int, int] | None:
    """The interval of the DAG's last planned run, else of its last scheduled one."""
    planned = (
        select(planned_run.c.data_interval_start, planned_run.c.data_interval_end)
        .where(planned_run.c.dag_id == dag_id)
        .order_by(planned_run.c.logical_date.desc())
    )
    had = (
        select(dag_run.c.data_interval_start, dag_run.c.data_interval_end)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.run_type == "scheduled")
        .order_by(dag_run.c.logical_date.desc())
    )
    row = connection.execute(planned.limit(1)).first() or connection.execute(had.limit(1)).first()
    return None if row is None else (row[0], row[1])


def store_plan(connection: Connection, wanted: PlanWanted, runs: Sequence[DueRun]) -> bool:
    """Add runs to a DAG's plan, unless it has another version by now; return whether they were added.

    Those that have been there are dropped. A short plan says that there are no more: nobody asks again.
    """
    lock = select(dag.c.version_id).where(dag.c.dag_id == wanted.dag_id).with_for_update(key_share=True)
    if connection.execute(lock).scalar() != wanted.version_id:
        return False
    done = select(dag_run.c.logical_date).where(dag_run.c.dag_id == wanted.dag_id, dag_run.c.run_type == "scheduled")
    last = connection.execute(done.order_by(dag_run.c.logical_date.desc()).limit(1)).scalar()
    if last is not None:
        connection.execute(
            delete(planned_run).where(planned_run.c.dag_id == wanted.dag_id, planned_run.c.logical_date <= last)
        )
    rows = [
        {
            "dag_id": wanted.dag_id,
            "logical_date": run.logical_date,
            "data_interval_start": run.data_interval_start,
            "data_interval_end": run.data_interval_end,
            "run_after": run.run_after,
        }
        for run in runs
    ]
    if rows:
        connection.execute(insert(planned_run), rows)
    connection.execute(
        update(dag).where(dag.c.dag_id == wanted.dag_id).values(plan_wanted_at=None if len(runs) >= AHEAD else _NEVER)
    )
    return True


def put_plan_off(connection: Connection, wanted: PlanWanted, at: int) -> None:
    """Planning failed: try again in a minute, or when the file has changed."""
    later = at + round(RETRY_SECONDS * SECOND)
    same = update(dag).where(dag.c.dag_id == wanted.dag_id, dag.c.version_id == wanted.version_id)
    connection.execute(same.values(plan_wanted_at=later))
