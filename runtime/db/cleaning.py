"""Deleting history: what has ended before a moment, in small transactions, so that nobody waits for long.

Kept whatever its age: runs that are open, each DAG's newest scheduled run (the next one is counted from it), each DAG's
newest version and those that runs name, and what any of these refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, not_, or_, select

from runtime.core.clock import SECOND
from runtime.core.states import RUN_FINISHED
from runtime.db.engine import Database
from runtime.db.schema import (
    callback_request,
    component,
    dag,
    dag_run,
    dag_version,
    event,
    run_inbox,
    scheduler,
    task_attempt,
    task_instance,
    xcom,
)

_SILENT_SECONDS = 3_600.0
BATCH = 1_000
"""Rows in one transaction."""


class Rule(NamedTuple):
    """What may go of one table."""

    table: Table
    condition: Callable[[int], ColumnElement[bool]]
    """From the moment."""


def _newest_scheduled() -> Any:
    newest = (
        select(dag_run.c.dag_id, func.max(dag_run.c.logical_date).label("date"))
        .where(dag_run.c.run_type == "scheduled")
        .group_by(dag_run.c.dag_id)
        .subquery()
    )
    joined = and_(dag_run.c.dag_id == newest.c.dag_id, dag_run.c.logical_date == newest.c.date)
    return select(dag_run.c.id).join(newest, joined).where(dag_run.c.run_type == "scheduled")


def _old_runs(at: int) -> ColumnElement[bool]:
    ended = and_(dag_run.c.state.in_([str(state) for state in RUN_FINISHED]), dag_run.c.end_date < at)
    return and_(ended, dag_run.c.id.not_in(_newest_scheduled().scalar_subquery()))


def _of_open_run(column: Any) -> ColumnElement[bool]:
    open_runs = select(dag_run.c.id).where(dag_run.c.state.not_in([str(state) for state in RUN_FINISHED]))
    return and_(column.is_not(None), column.in_(open_runs))


def _old_versions(at: int) -> ColumnElement[bool]:
    used = (
        select(dag.c.version_id).where(dag.c.version_id.is_not(None)),
        select(dag_run.c.version_id),
        select(task_attempt.c.version_id),
    )
    return and_(dag_version.c.created_at < at, *(dag_version.c.id.not_in(query) for query in used))


def _old_dags(at: int) -> ColumnElement[bool]:
    with_runs = select(dag_run.c.dag_id)
    return and_(not_(dag.c.is_active), dag.c.last_parsed_at < at, dag.c.dag_id.not_in(with_runs))


def _old_schedulers(at: int) -> ColumnElement[bool]:
    owners = select(dag_run.c.lease_owner).where(dag_run.c.lease_owner.is_not(None))
    return and_(scheduler.c.ended_at < at, scheduler.c.heartbeat_at < at, scheduler.c.id.not_in(owners))


def _old_components(at: int) -> ColumnElement[bool]:
    """One that lives may have been heard of just before ``at``; one that crashed has no end."""
    silent = component.c.heartbeat_at < at - round(_SILENT_SECONDS * SECOND)
    return or_(component.c.ended_at < at, silent)


RULES: dict[str, tuple[Rule, ...]] = {
    "dag_run": (Rule(dag_run, _old_runs),),
    "xcom": (Rule(xcom, lambda at: and_(xcom.c.created_at < at, not_(_of_open_run(xcom.c.dag_run_id)))),),
    "log": (
        Rule(
            event,
            lambda at: and_(event.c.at < at, or_(event.c.dag_run_id.is_(None), not_(_of_open_run(event.c.dag_run_id)))),
        ),
    ),
    "dag_version": (Rule(dag_version, _old_versions),),
    "dag": (Rule(dag, _old_dags),),
    "callback_request": (Rule(callback_request, lambda at: callback_request.c.created_at < at),),
    "job": (
        Rule(scheduler, _old_schedulers),
        Rule(component, _old_components),
    ),
}
"""By the name that people give, in the order of deletion. ``dag_run`` takes all along that a run has."""
ALIASES = {
    "event": "log",
    "task_instance": "dag_run",
    "task_attempt": "dag_run",
    "scheduler": "job",
    "component": "job",
}


def count(connection: Connection, names: Sequence[str], at: int) -> dict[str, int]:
    """How many rows would go, by table."""
    found = {}
    for rule in _rules(names):
        query = select(func.count()).select_from(rule.table).where(rule.condition(at))
        found[rule.table.name] = int(connection.execute(query).scalar_one())
    return found


def clean(database: Database, names: Sequence[str], at: int, batch: int = BATCH) -> dict[str, int]:
    """Delete them, ``batch`` rows of a table in each transaction; how many went, by table."""
    done = {}
    for rule in _rules(names):
        done[rule.table.name] = 0
        while went := database.transact(lambda connection, rule=rule: _delete_some(connection, rule, at, batch)):  # type: ignore[misc]
            done[rule.table.name] += went
    return done


def _rules(names: Sequence[str]) -> Iterator[Rule]:
    for name, rules in RULES.items():
        if name in names:
            yield from rules


def _delete_some(connection: Connection, rule: Rule, at: int, batch: int) -> int:
    """Locked first: a run that is cleared meanwhile is open again, and the condition is asked of it as it is then."""
    keys = list(rule.table.primary_key.columns)
    query = select(*keys).where(rule.condition(at)).order_by(*keys).limit(batch)
    rows = connection.execute(query.with_for_update(of=rule.table, skip_locked=True)).all()
    if not rows:
        return 0
    if rule.table is dag_run:
        _delete_of_runs(connection, [row.id for row in rows])
    chosen = or_(*(and_(*(key == value for key, value in zip(keys, row, strict=True))) for row in rows))
    if len(keys) == 1:
        chosen = keys[0].in_([row[0] for row in rows])
    return connection.execute(delete(rule.table).where(chosen)).rowcount


def _delete_of_runs(connection: Connection, runs: Sequence[int]) -> None:
    """What names a run without a foreign key; the rest goes with the run."""
    connection.execute(delete(run_inbox).where(run_inbox.c.dag_run_id.in_(runs)))
    instances = select(task_instance.c.id).where(task_instance.c.dag_run_id.in_(runs))
    connection.execute(delete(task_attempt).where(task_attempt.c.task_instance_id.in_(instances)))
