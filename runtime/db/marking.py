"""Marking task instances by hand, and having one run now. Each act is guarded, leaves events, and lets its run go on.

A mark on one that runs ends the task instance at once; its attempt is told to stop and stays *running* until its
supervisor has reported that nothing of it is left, so that whoever clears it waits for that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_

from runtime.core.errors import HybridError, NotFoundError
from runtime.core.relatives import Relatives
from runtime.core.specs import DagSpec, TaskSpec
from runtime.core.states import (
    LEGAL,
    RUN_FINISHED,
    TASK_ACTIVE,
    TASK_FINISHED,
    AttemptState,
    RunState,
    TaskState,
)
from runtime.core.trigger_rules import UpstreamCounts, Verdict, evaluate
from runtime.db.clearing import FAILED, clear_rows, lock_runs, rows_of, specs_of
from runtime.db.runs import did_you_mean, reopen, require_dag, require_run
from runtime.db.schema import dag_run, task_instance
from runtime.db.transitions import Batch, Subject

MARKS = (TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What to make of a task instance, and of which relatives.

    :param upstream: likewise all tasks that it waits for; ``downstream``: all that wait for it.
    :param past: likewise in all runs of earlier logical dates; ``future``: of later ones.
    """

    dag_id: str
    run_id: str
    task_id: str
    state: TaskState
    upstream: bool = False
    downstream: bool = False
    past: bool = False
    future: bool = False


def mark_tasks(connection: Connection, mark: Mark, *, now: int, actor: str) -> list[Row[Any]]:
    """Give task instances a finished state; return the rows of those that had another one, as they were.

    What is downstream of a success or a skip and has failed, is cleared, as in Airflow. A run that had ended is opened
    again, and judged anew. Raises :class:`NotFoundError` where DAG, run or task do not exist, and
    :class:`HybridError` where the run has not begun.
    """
    run = require_run(connection, mark.dag_id, mark.run_id)
    spec = specs_of(connection, [run.version_id])[run.version_id]
    relatives = Relatives(spec.tasks)
    require_task(spec, mark.task_id)
    names = {mark.task_id}
    names |= relatives.above(mark.task_id) if mark.upstream else set()
    names |= relatives.below(mark.task_id) if mark.downstream else set()
    rows = _locked(connection, _runs(run, mark))
    if not any(row.dag_run_id == run.id for row in rows):
        raise HybridError(f"run {mark.run_id} of DAG {mark.dag_id} has no task instances yet: it is {run.state}")
    changed = [row for row in rows if row.task_id in names and row.state != mark.state]
    reason = f"marked {mark.state} by {actor}"
    batch = Batch(now, actor)
    for row in changed:
        _mark(batch, row, mark.state, reason)
    batch.write(connection)
    if mark.state is not TaskState.FAILED:
        _let_downstream_run(connection, rows, changed, relatives, now, actor)
    for identifier, state in sorted({(row.dag_run_id, row.run_state) for row in changed}):
        reopen(connection, identifier, state, now, actor=actor, reason=reason)
    return changed


def start_now(
    connection: Connection,
    dag_id: str,
    run_id: str,
    task_id: str,
    *,
    ignore_all: bool,
    ignore_past: bool,
    force: bool,
    now: int,
    actor: str,
) -> Row[Any]:
    """Have one task instance run; return its row as it was.

    :param ignore_all: whatever its state and its upstream tasks are, unless it is on its way already.
    :param ignore_past: whatever the run before says (``depends_on_past``).
    :param force: although it has ended.

    Where nothing is ignored the scheduler judges it like any other: it only is cleared where it has ended. Raises
    :class:`NotFoundError`, and :class:`HybridError` where it is on its way or may not run.
    """
    if require_dag(connection, dag_id).is_paused:
        raise HybridError(f"DAG {dag_id} is paused; run `hybrid dags unpause {dag_id}` first")
    run = require_run(connection, dag_id, run_id)
    spec = specs_of(connection, [run.version_id])[run.version_id]
    task = require_task(spec, task_id)
    rows = _locked(connection, dag_run.c.id == run.id)
    row = next((row for row in rows if row.task_id == task_id), None)
    if row is None:
        raise HybridError(f"run {run_id} of DAG {dag_id} has no task instances yet: it is {run.state}")
    _check_may_start(row, task, force=force or ignore_all)
    if ignore_past and not ignore_all:
        _check_upstream(task, {one.task_id for one in spec.tasks if one.is_setup}, rows)
    if TaskState(row.state) in TASK_FINISHED:
        clear_rows(connection, [row], now, actor)
    if (ignore_all or ignore_past) and row.attempt_state != AttemptState.RUNNING:
        state = TaskState.NONE if TaskState(row.state) in TASK_FINISHED else TaskState(row.state)
        batch = Batch(now, actor)
        batch.schedule(_subject(row, state), reason=f"started by {actor}")
        batch.notify(row.dag_run_id, "cleared", row.id, row.attempt_id)
        batch.write(connection)
    return row


def require_task(spec: DagSpec, task_id: str) -> TaskSpec:
    """The task. Raises :class:`NotFoundError` with near names."""
    for task in spec.tasks:
        if task.task_id == task_id:
            return task
    near = did_you_mean(task_id, [task.task_id for task in spec.tasks])
    raise NotFoundError(f"DAG {spec.dag_id} has no task {task_id!r}{near}; see `hybrid tasks list {spec.dag_id}`")


def _runs(run: Row[Any], mark: Mark) -> ColumnElement[bool]:
    chosen = [dag_run.c.id == run.id]
    if mark.past and run.logical_date is not None:
        chosen.append(dag_run.c.logical_date < run.logical_date)
    if mark.future and run.logical_date is not None:
        chosen.append(dag_run.c.logical_date > run.logical_date)
    return and_(dag_run.c.dag_id == mark.dag_id, or_(*chosen))


def _locked(connection: Connection, runs: ColumnElement[bool]) -> list[Row[Any]]:
    lock_runs(connection, runs)
    return list(connection.execute(rows_of(runs).with_for_update(of=task_instance, key_share=True)))


def _subject(row: Row[Any], state: TaskState) -> Subject:
    return Subject(row.id, row.dag_run_id, state, row.attempt_id, row.task_id)


def _mark(batch: Batch, row: Row[Any], state: TaskState, reason: str) -> None:
    old = TaskState(row.state)
    if state not in LEGAL[old]:
        batch.end(_subject(row, old), TaskState.NONE, reason=reason)
        old = TaskState.NONE
    batch.end(_subject(row, old), state, reason=reason)
    if row.attempt_state == AttemptState.QUEUED:
        batch.end_attempt(row.attempt_id, AttemptState.LOST, f"{reason} before it started")
    batch.notify(row.dag_run_id, "cleared", row.id, row.attempt_id)


def _let_downstream_run(
    connection: Connection,
    rows: Sequence[Row[Any]],
    changed: Iterable[Row[Any]],
    relatives: Relatives,
    now: int,
    actor: str,
) -> None:
    below: dict[int, set[str]] = {}
    for row in changed:
        below.setdefault(row.dag_run_id, set()).update(relatives.below(row.task_id))
    marked = {row.id for row in changed}
    stuck = [
        row
        for row in rows
        if row.id not in marked and row.task_id in below.get(row.dag_run_id, ()) and TaskState(row.state) in FAILED
    ]
    if stuck:
        clear_rows(connection, stuck, now, actor)


def _check_may_start(row: Row[Any], task: TaskSpec, *, force: bool) -> None:
    state = TaskState(row.state)
    where = f"task {row.task_id} of run {row.run_id}"
    if task.empty:
        raise HybridError(f"{where} has nothing to execute: the scheduler ends it by itself")
    if state in TASK_ACTIVE or state is TaskState.SCHEDULED:
        raise HybridError(f"{where} is {state} already; see `hybrid tasks why`")
    if state in TASK_FINISHED and not force:
        raise HybridError(f"{where} has ended: {state}; --force runs it again")
    if RunState(row.run_state) in RUN_FINISHED and not force:
        raise HybridError(f"run {row.run_id} has ended: {row.run_state}; --force opens it again")


def _check_upstream(task: TaskSpec, setups: Collection[str], rows: Sequence[Row[Any]]) -> None:
    """Raise :class:`HybridError` unless the trigger rule lets the task run now."""
    of_upstream = [row for row in rows if row.task_id in task.upstream]
    counts = UpstreamCounts(len(of_upstream), sum(row.task_id in setups for row in of_upstream))
    for row in of_upstream:
        if TaskState(row.state) in TASK_FINISHED:
            (counts.add_setup if row.task_id in setups else counts.add)(TaskState(row.state))
    if evaluate(task.trigger_rule, counts) is not Verdict.RUN:
        states = ", ".join(f"{row.task_id} ({row.state})" for row in of_upstream)
        raise HybridError(
            f"the dependencies of task {task.task_id} are not met: {states}; trigger rule {task.trigger_rule}; "
            "--ignore-all-dependencies runs it all the same"
        )
