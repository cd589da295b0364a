"""``max_consecutive_failed_dag_runs``: a DAG whose newest runs all failed is paused, and says why."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from runtime.core.states import RUN_FINISHED, RunState
from runtime.db.schema import dag, dag_run
from runtime.db.transitions import record_run_event
from runtime.scheduler.runs import RunModel


def pause_after_failures(connection: Connection, run: RunModel, *, at: int, actor: str) -> bool:
    """Pause the DAG of a run that has just failed, if so many have in a row; return whether it was paused.

    Counted by logical date over runs that have ended. Those of backfills say nothing about now.
    """
    limit, dag_id = run.graph.spec.max_consecutive_failed_dag_runs, run.graph.dag_id
    if not limit:
        return False
    newest = (
        select(dag_run.c.state)
        .where(
            dag_run.c.dag_id == dag_id,
            dag_run.c.logical_date.is_not(None),
            dag_run.c.backfill_id.is_(None),
            dag_run.c.state.in_(sorted(RUN_FINISHED)),
        )
        .order_by(dag_run.c.logical_date.desc())
        .limit(limit)
    )
    states = list(connection.execute(newest).scalars())
    if len(states) < limit or any(state != RunState.FAILED for state in states):
        return False
    reason = f"paused after {limit} failed run{'s' if limit > 1 else ''} in a row (max_consecutive_failed_dag_runs)"
    active = update(dag).where(dag.c.dag_id == dag_id, dag.c.is_paused.is_(False))
    changed = connection.execute(active.values(is_paused=True, pause_reason=reason)).rowcount
    if changed:
        record_run_event(connection, at=at, dag_run_id=run.id, old=None, new="dag paused", actor=actor, reason=reason)
    return bool(changed)
