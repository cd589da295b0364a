"""A DAG's tasks as an executor would be handed them, for commands of executors that show what would be launched."""

from __future__ import annotations

from executors.names import parse_executors
from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.cli.moments import parse_moment
from runtime.config import Settings
from runtime.config.routing import make_router
from runtime.core import clock
from runtime.core.ids import manual_run_id, uuid7
from runtime.core.specs import DagSpec, TaskSpec


def dag_workloads(settings: Settings, dag_id: str, logical_date: str | None, executor: str) -> list[Workload]:
    """One per task of the DAG's newest version that goes, or may fall back, to ``executor``, in the DAG's order.

    They belong to a run that does not exist, have ids of no attempt and no start ticket.

    :param logical_date: ISO-8601; now where there is none.

    Raises ``HybridError`` where there is no such DAG, and ``UsageError`` for what is no date.
    """
    from runtime.db import queries
    from runtime.db.engine import open_database

    date = parse_moment("DATE", logical_date, settings.core.default_timezone)
    run_id = manual_run_id(clock.now() if date is None else date)
    router = make_router(settings, parse_executors(settings.core.executor))
    database = open_database(settings)
    try:
        with database.read() as connection:
            spec = queries.dag_spec(connection, dag_id)
    finally:
        database.close()
    return [
        _workload(spec, task, run_id)
        for task in spec.tasks
        if not task.empty and executor in router.route(spec, task).chain
    ]


def _workload(dag: DagSpec, task: TaskSpec, run_id: str) -> Workload:
    attempt_id = uuid7()
    return Workload(
        key=TaskInstanceKey(dag.dag_id, task.task_id, run_id, 1, -1, attempt_id),
        command=("hybrid", "tasks", "run", attempt_id),
        code=CodeReference(rel_path="", file_hash=""),
        queue=task.queue,
        priority_weight=task.priority_weight,
        pool_slots=task.pool_slots,
        executor_config=task.executor_config,
        env={"HYBRID_ATTEMPT_ID": attempt_id},
    )
