"""What the database knows of why the task instances of a run wait: facts for :mod:`runtime.core.waiting`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, select

from runtime.core.past import downstream_of, held_by_past
from runtime.core.routing import Router
from runtime.core.specs import DagSpec, TaskSpec, decode_dag
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, AttemptState, RunState, TaskState
from runtime.core.waiting import ExecutorFacts, PoolFacts, RunFacts, Situation, TaskFacts, waits_for
from runtime.db.past import run_before, seen_earlier, states_in
from runtime.db.queries import executor_figures, live_schedulers
from runtime.db.runs import require_run
from runtime.db.schema import (
    dag,
    dag_run,
    dag_version,
    pool,
    run_is_open,
    task_attempt,
    task_instance,
    task_instance_is_active,
)

Doubt = Callable[[Row[Any]], str | None]
"""From the row of a running task instance to what is suspicious of it."""
_ATTEMPT = (
    task_attempt.c.executor,
    task_attempt.c.reason.label("attempt_reason"),
    task_attempt.c.state.label("attempt_state"),
    task_attempt.c.heartbeat_at,
    task_attempt.c.hostname,
    task_attempt.c.pid,
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One task instance and every reason that it has not begun, or not gone on."""

    task_id: str
    map_index: int
    state: str
    reasons: list[str]


def waiting(
    connection: Connection, dag_id: str, run_id: str, *, router: Router, doubt: Doubt, at: int, since: int
) -> list[Waiting]:
    """Every task instance of the run, in order of task and index.

    :param at: now, by the database's clock.
    :param since: schedulers that were heard of later than this live.

    Raises :class:`~runtime.core.errors.NotFoundError`.
    """
    run = require_run(connection, dag_id, run_id)
    spec = decode_dag(
        connection.execute(select(dag_version.c.spec).where(dag_version.c.id == run.version_id)).scalar_one()
    )
    rows = connection.execute(
        select(task_instance, *_ATTEMPT)
        .join_from(task_instance, task_attempt, task_attempt.c.id == task_instance.c.attempt_id, isouter=True)
        .where(task_instance.c.dag_run_id == run.id)
        .order_by(task_instance.c.task_id, task_instance.c.map_index)
    ).all()
    states: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        states[row.task_id].append(row.state)
    of_run = _run_facts(connection, run, spec, rows, since)
    pools = _pools(connection)
    figures = executor_figures(connection, since=since)
    past = _past(connection, run, spec)
    active = _active(connection, run.dag_id, spec)
    in_run = Counter(row.task_id for row in rows if TaskState(row.state) in TASK_ACTIVE)
    executors = {name: ExecutorFacts(one["health"], one["reason"], one["open_slots"]) for name, one in figures.items()}
    tasks = {task.task_id: task for task in spec.tasks}

    def look(row: Row[Any]) -> list[str]:
        task = tasks.get(row.task_id)
        if task is None or TaskState(row.state) in TASK_FINISHED:
            return []
        route = router.route(spec, task)
        upstream = {name: states[name] for name in task.upstream}
        now = Situation(at, of_run, upstream, pools.get(row.pool), executors, route.chain, route.reason)
        facts = replace(
            _task_facts(row, task, doubt),
            past=past(task),
            active_in_dag=active.get(task.task_id, 0),
            active_in_run=in_run[task.task_id],
        )
        return waits_for(facts, now)

    return [Waiting(row.task_id, row.map_index, row.state, look(row)) for row in rows]


def _task_facts(row: Row[Any], task: TaskSpec, doubt: Doubt) -> TaskFacts:
    queued = row.attempt_state == AttemptState.QUEUED
    return TaskFacts(
        spec=task,
        state=row.state,
        reason=row.reason,
        retry_at=row.retry_at,
        queued_at=row.queued_at,
        executor=row.executor,
        attempt_reason=row.attempt_reason if queued else None,
        suspicion=doubt(row) if row.attempt_state == AttemptState.RUNNING else None,
    )


def _past(connection: Connection, run: Row[Any], spec: DagSpec) -> Callable[[TaskSpec], str | None]:
    """How the run before holds a task; asks the database only where one of the DAG depends on it."""
    if not any(task.depends_on_past for task in spec.tasks):
        return lambda _: None
    before = run_before(connection, run.id, catchup=spec.catchup)
    if before is None:
        return lambda _: None
    states = states_in(connection, before.id, [task.task_id for task in spec.tasks])
    downstream = downstream_of(spec)

    def held(task: TaskSpec) -> str | None:
        if not task.depends_on_past:
            return None
        is_first = bool(states) and task.task_id not in states and not seen_earlier(connection, before, task.task_id)
        return held_by_past(task, downstream[task.task_id], states, run_id=before.run_id, is_first=is_first)

    return held


def _active(connection: Connection, dag_id: str, spec: DagSpec) -> dict[str, int]:
    """Active instances by task in all runs of the DAG; empty where no task has a limit for it."""
    if all(task.max_active_tis_per_dag is None for task in spec.tasks):
        return {}
    query = (
        select(task_instance.c.task_id, func.count())
        .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
        .where(task_instance_is_active, dag_run.c.dag_id == dag_id)
        .group_by(task_instance.c.task_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _run_facts(connection: Connection, run: Row[Any], spec: DagSpec, rows: Any, since: int) -> RunFacts:
    running = select(func.count()).where(
        run_is_open,
        dag_run.c.dag_id == run.dag_id,
        dag_run.c.state == RunState.RUNNING,
        dag_run.c.backfill_id.is_(None),
    )
    paused = connection.execute(select(dag.c.is_paused, dag.c.pause_reason).where(dag.c.dag_id == run.dag_id)).one()
    return RunFacts(
        state=run.state,
        reason=run.reason,
        is_paused=paused.is_paused,
        pause_reason=paused.pause_reason,
        has_owner=run.lease_owner is not None,
        active_tasks=sum(TaskState(row.state) in TASK_ACTIVE for row in rows),
        max_active_tasks=spec.max_active_tasks,
        # Runs of a backfill have a limit of their own, which their making keeps.
        running_runs=connection.execute(running).scalar_one() if run.backfill_id is None else 0,
        max_active_runs=spec.max_active_runs,
        schedulers=len(live_schedulers(connection, since=since)),
    )


def _pools(connection: Connection) -> dict[str, PoolFacts]:
    used = dict(
        connection.execute(
            select(task_instance.c.pool, func.sum(task_instance.c.pool_slots))
            .where(task_instance_is_active)
            .group_by(task_instance.c.pool)
        ).all()
    )
    return {row.name: PoolFacts(row.slots, int(used.get(row.name, 0))) for row in connection.execute(select(pool))}
