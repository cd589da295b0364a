"""The run before a run, by logical date within its DAG, and how its tasks stand: an index lookup each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from runtime.db.schema import backfill_run, dag_run, task_instance


@dataclass(frozen=True, slots=True)
class RunBefore:
    """The run that another one depends on."""

    id: int
    run_id: str
    dag_id: str
    logical_date: int
    """Of the one that depends."""


def run_before(connection: Connection, dag_run_id: int, *, catchup: bool) -> RunBefore | None:
    """``None`` where nothing is depended on: without a logical date, as the DAG's or a backfill's first run.

    :param catchup: leave out runs that were triggered by hand.
    """
    row = connection.execute(select(dag_run).where(dag_run.c.id == dag_run_id)).one()
    if row.logical_date is None or _is_first_of_backfill(connection, row):
        return None
    query = (
        select(dag_run.c.id, dag_run.c.run_id)
        .where(dag_run.c.dag_id == row.dag_id, dag_run.c.logical_date < row.logical_date)
        .order_by(dag_run.c.logical_date.desc())
        .limit(1)
    )
    if catchup:
        query = query.where(dag_run.c.run_type != "manual")
    found = connection.execute(query).first()
    return None if found is None else RunBefore(found.id, found.run_id, row.dag_id, row.logical_date)


def states_in(connection: Connection, dag_run_id: int, task_ids: Collection[str]) -> dict[str, list[str]]:
    """The states of these tasks' instances in a run; a task without any is left out."""
    query = select(task_instance.c.task_id, task_instance.c.state).where(
        task_instance.c.dag_run_id == dag_run_id, task_instance.c.task_id.in_(sorted(task_ids))
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.task_id].append(row.state)
    return dict(found)


def seen_earlier(connection: Connection, before: RunBefore, task_id: str) -> bool:
    """Whether any earlier run of the DAG has had the task. Asked only of tasks that the run before has not."""
    query = (
        select(task_instance.c.id)
        .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
        .where(
            dag_run.c.dag_id == before.dag_id,
            dag_run.c.logical_date < before.logical_date,
            task_instance.c.task_id == task_id,
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def has_begun(connection: Connection, dag_run_id: int) -> bool:
    """Whether the run has task instances: they are made when a scheduler takes it for the first time."""
    query = select(task_instance.c.id).where(task_instance.c.dag_run_id == dag_run_id).limit(1)
    return connection.execute(query).first() is not None


def followers(dag_id: str, logical_date: Any) -> Select[Any]:
    """``id, state, run_type`` of the next later runs of a DAG, the earliest first."""
    return (
        select(dag_run.c.id, dag_run.c.state, dag_run.c.run_type)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.logical_date > logical_date)
        .order_by(dag_run.c.logical_date)
    )


def _is_first_of_backfill(connection: Connection, row: Any) -> bool:
    if row.backfill_id is None:
        return False
    query = select(backfill_run.c.ordinal).where(
        backfill_run.c.backfill_id == row.backfill_id, backfill_run.c.dag_run_id == row.id
    )
    return connection.execute(query).scalar() == 1
