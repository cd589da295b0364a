"""Deleting a DAG with its history."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from runtime.core.errors import HybridError
from runtime.core.states import RunState
from runtime.db.runs import require_dag
from runtime.db.schema import attempt_is_active, dag, dag_run, event, run_inbox, task_attempt, task_instance

_SHOWN = 3


def delete_dag(connection: Connection, dag_id: str, *, now: int, actor: str) -> dict[str, int]:
    """Delete a DAG, its versions, runs, task instances, attempts, XComs and events; how many rows of which table.

    One event stays that says who did it. Raises :class:`~runtime.core.errors.NotFoundError`, also for a DAG that was
    never there, and :class:`HybridError` while a run of it is running, or an attempt has not ended: a scheduler holds
    these in memory. Runs that are queued go.
    """
    if connection.execute(select(dag.c.dag_id).where(dag.c.dag_id == dag_id).with_for_update()).first() is None:
        require_dag(connection, dag_id)
    runs = select(dag_run.c.id).where(dag_run.c.dag_id == dag_id)
    connection.execute(runs.order_by(dag_run.c.id).with_for_update())
    _refuse_while_running(connection, dag_id)
    instances = select(task_instance.c.id).where(task_instance.c.dag_run_id.in_(runs))
    found = {}
    for table, condition in (
        (run_inbox, run_inbox.c.dag_run_id.in_(runs)),
        (event, event.c.dag_run_id.in_(runs)),
        (task_attempt, task_attempt.c.task_instance_id.in_(instances)),
        (task_instance, task_instance.c.dag_run_id.in_(runs)),
        (dag_run, dag_run.c.dag_id == dag_id),
        (dag, dag.c.dag_id == dag_id),
    ):
        found[table.name] = connection.execute(delete(table).where(condition)).rowcount
    reason = f"DAG {dag_id} was deleted; runs: {found['dag_run']}"
    connection.execute(insert(event).values(at=now, new_state="deleted", actor=actor, reason=reason))
    return found


def _refuse_while_running(connection: Connection, dag_id: str) -> None:
    running = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id, dag_run.c.state == RunState.RUNNING)
    names = list(connection.execute(running.order_by(dag_run.c.id)).scalars())
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise HybridError(
            f"DAG {dag_id} is running: {', '.join(names[:_SHOWN])}{more}; pause it and let its runs end, "
            "or end their tasks with `hybrid tasks set-state`"
        )
    active = (
        select(func.count())
        .select_from(task_attempt)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(attempt_is_active, dag_run.c.dag_id == dag_id)
    )
    if count := connection.execute(active).scalar_one():
        raise HybridError(f"{count} attempts of DAG {dag_id} are being stopped; try again in a moment")
