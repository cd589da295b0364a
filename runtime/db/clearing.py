"""Which task instances a person means, and making them run again: inside the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, select, update

from runtime.core.errors import HybridError, NotFoundError
from runtime.core.relatives import to_clear
from runtime.core.specs import DagSpec, decode_dag
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, AttemptState, RunState, TaskState
from runtime.db.past import followers
from runtime.db.runs import did_you_mean, reopen, require_dag, require_run
from runtime.db.schema import dag_run, dag_version, task_attempt, task_instance
from runtime.db.transitions import Batch, Subject

CLEARABLE = TASK_FINISHED | TASK_ACTIVE | {TaskState.UP_FOR_RETRY}
FAILED = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED})
ACTOR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Task instances of one DAG: all that can be cleared, unless something says less.

    :param start_date: only runs of this logical date or a later one, microseconds.
    :param end_date: only runs of this logical date or an earlier one.
    :param task_regex: only tasks whose id it is found in, with their setups and teardowns.
    :param upstream: of a ``task_regex``: also all that these wait for.
    :param downstream: also all that waits for them.
    """

    dag_id: str
    run_id: str | None = None
    start_date: int | None = None
    end_date: int | None = None
    task_regex: str | None = None
    upstream: bool = False
    downstream: bool = False
    states: Collection[TaskState] = CLEARABLE


def states_of(*, only_failed: bool, only_running: bool) -> frozenset[TaskState]:
    """What is to be cleared; both flags together mean both kinds, as in Airflow."""
    wanted = (FAILED if only_failed else frozenset()) | ({TaskState.RUNNING} if only_running else frozenset())
    return wanted or CLEARABLE


def choose(connection: Connection, choice: Choice, *, lock: bool = False) -> list[Row[Any]]:
    """The task instances, with their ``run_id``, ``logical_date``, ``version_id``, ``run_state``, ``attempt_state``.

    :param lock: hold them and their runs until the transaction ends.

    Raises :class:`NotFoundError` (no such DAG or run, no task matches) and :class:`HybridError` (bad expression).
    """
    require_dag(connection, choice.dag_id)
    runs = _runs(connection, choice)
    pattern = None if choice.task_regex is None else _pattern(choice.task_regex)
    query = rows_of(runs)
    if lock:
        lock_runs(connection, runs)
        query = query.with_for_update(of=task_instance, key_share=True)
    rows = list(connection.execute(query))
    if pattern is not None:
        rows = _matching(connection, rows, choice, pattern)
    return [row for row in rows if TaskState(row.state) in choice.states]


def clear_tasks(
    connection: Connection,
    *,
    dag_id: str,
    now: int,
    run_id: str | None = None,
    task_regex: str | None = None,
    only_failed: bool = False,
) -> int:
    """Make finished task instances run again; return how many were cleared. See :func:`clear`."""
    states = states_of(only_failed=only_failed, only_running=False)
    return clear(connection, Choice(dag_id=dag_id, run_id=run_id, task_regex=task_regex, states=states), now)


def clear(connection: Connection, choice: Choice, now: int) -> int:
    """Make task instances run again; return how many were cleared.

    One that is queued or running now is stopped first (*restarting*). A finished run that has cleared tasks is queued
    again. Raises as :func:`choose`.
    """
    rows = choose(connection, choice, lock=True)
    clear_rows(connection, rows, now)
    return len(rows)


def clear_rows(connection: Connection, rows: Sequence[Row[Any]], now: int, actor: str = ACTOR) -> None:
    """Clear rows of :func:`choose`, which must be locked."""
    batch = Batch(now, actor)
    for row in rows:
        _clear_one(batch, row)
    _tell_later_runs(connection, batch, rows)
    batch.write(connection)
    _grant_new_tries(connection, rows)
    for identifier, state in sorted({(row.dag_run_id, row.run_state) for row in rows}):
        reopen(connection, identifier, state, now)


def _tell_later_runs(connection: Connection, batch: Batch, rows: Sequence[Row[Any]]) -> None:
    """What looks back on a cleared run has asked how it stood: have the running ones ask again."""
    specs = specs_of(connection, [row.version_id for row in rows])
    for row in {row.dag_run_id: row for row in rows if row.logical_date is not None}.values():
        spec = specs[row.version_id]
        if any(task.depends_on_past for task in spec.tasks):
            for later in connection.execute(followers(spec.dag_id, row.logical_date).limit(50)):
                if later.state == RunState.RUNNING:
                    batch.notify(later.id, "cleared", row.id, None)


def rows_of(runs: ColumnElement[bool]) -> Any:
    """The query of all task instances of runs, in the order in which everybody locks them."""
    return (
        select(
            task_instance,
            dag_run.c.run_id,
            dag_run.c.logical_date,
            dag_run.c.version_id,
            dag_run.c.state.label("run_state"),
            task_attempt.c.state.label("attempt_state"),
        )
        .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
        .join(task_attempt, task_attempt.c.id == task_instance.c.attempt_id, isouter=True)
        .where(runs)
        .order_by(task_instance.c.id)
    )


def lock_runs(connection: Connection, runs: ColumnElement[bool]) -> None:
    """Hold the runs, so that none ends meanwhile, and what workers may hold, in the order in which they take it."""
    connection.execute(select(dag_run.c.id).where(runs).order_by(dag_run.c.id).with_for_update(key_share=True))
    connection.execute(
        select(task_attempt.c.id)
        .join(task_instance, task_instance.c.attempt_id == task_attempt.c.id)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(runs)
        .order_by(task_instance.c.id)
        .with_for_update(of=[task_attempt, task_instance], key_share=True)
    )


def specs_of(connection: Connection, version_ids: Iterable[str]) -> dict[str, DagSpec]:
    """DAG versions by their ids."""
    query = select(dag_version.c.id, dag_version.c.spec).where(dag_version.c.id.in_(sorted(set(version_ids))))
    return {row.id: decode_dag(row.spec) for row in connection.execute(query)}


def _runs(connection: Connection, choice: Choice) -> ColumnElement[bool]:
    conditions = [dag_run.c.dag_id == choice.dag_id]
    if choice.run_id is not None:
        conditions.append(dag_run.c.id == require_run(connection, choice.dag_id, choice.run_id).id)
    if choice.start_date is not None:
        conditions.append(dag_run.c.logical_date >= choice.start_date)
    if choice.end_date is not None:
        conditions.append(dag_run.c.logical_date <= choice.end_date)
    return and_(*conditions)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise HybridError(f"--task-regex {text!r} is no regular expression: {error}") from error


def _matching(
    connection: Connection, rows: Sequence[Row[Any]], choice: Choice, pattern: re.Pattern[str]
) -> list[Row[Any]]:
    """Those of tasks that match, and of their relatives, each by the version of the DAG that its run has."""
    newest = require_dag(connection, choice.dag_id).version_id
    specs = specs_of(connection, [newest, *(row.version_id for row in rows)])
    wanted: dict[str, set[str]] = {}
    for version, spec in specs.items():
        named = {task.task_id for task in spec.tasks if pattern.search(task.task_id)}
        wanted[version] = to_clear(spec.tasks, named, upstream=choice.upstream, downstream=choice.downstream)
    found = [row for row in rows if row.task_id in wanted[row.version_id] or pattern.search(row.task_id)]
    if not found and not any(wanted.values()):
        known = {task.task_id for spec in specs.values() for task in spec.tasks}
        raise NotFoundError(
            f"no task of DAG {choice.dag_id} matches {choice.task_regex!r}"
            f"{did_you_mean(choice.task_regex or '', sorted(known))}"
        )
    return found


def _clear_one(batch: Batch, row: Row[Any]) -> None:
    state = TaskState(row.state)
    subject = Subject(row.id, row.dag_run_id, state, row.attempt_id, row.task_id)
    if state is TaskState.RESTARTING:
        return
    if state in TASK_ACTIVE or row.attempt_state == AttemptState.RUNNING:
        # Of a finished one the attempt may run on for a moment, where somebody marked it: wait until it is quiet.
        batch.end(subject, TaskState.RESTARTING, reason="cleared")
        if row.attempt_state == AttemptState.QUEUED:
            # Nobody was granted the start, and nobody will be: the attempt ends here and there is nothing to wait for.
            batch.end_attempt(row.attempt_id, AttemptState.LOST, "cleared before it started")
            restarting = Subject(row.id, row.dag_run_id, TaskState.RESTARTING, row.attempt_id, row.task_id)
            batch.end(restarting, TaskState.NONE, reason="cleared")
    else:
        batch.end(subject, TaskState.NONE, reason="cleared")
    batch.notify(row.dag_run_id, "cleared", row.id, row.attempt_id)


def _grant_new_tries(connection: Connection, chosen: Sequence[Row[Any]]) -> None:
    """A cleared task may fail as often again as its author allowed (Airflow: ``max_tries = try_number + retries``)."""
    specs = specs_of(connection, [row.version_id for row in chosen])
    retries = {(version, task.task_id): task.retries for version, spec in specs.items() for task in spec.tasks}
    rows = [{"b_id": row.id, "v_max": row.try_number + retries.get((row.version_id, row.task_id), 0)} for row in chosen]
    if rows:
        connection.execute(
            update(task_instance)
            .where(task_instance.c.id == bindparam("b_id"))
            .values(max_tries=bindparam("v_max"), infra_losses=0),
            rows,
        )
