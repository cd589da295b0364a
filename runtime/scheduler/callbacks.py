"""Callbacks that no worker runs: those of DAGs, and of attempts whose process died. Rows for the DAG processor.

They are written in the transaction that commits the outcome, so that none is lost; it runs each at least once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from runtime.core.callbacks import RunCallback, TaskCallback, encode
from runtime.core.states import RunState, TaskState
from runtime.db.schema import run_inbox, task_instance
from runtime.db.transitions import OWING

if TYPE_CHECKING:
    from runtime.scheduler.runs import Instance, RunModel
    from runtime.scheduler.step import Step

_KINDS = {TaskState.FAILED: "failure", TaskState.UP_FOR_RETRY: "retry", TaskState.SUCCESS: "success"}
TIMED_OUT = "timed_out"


def owe(step: Step, instance: Instance, state: TaskState, reason: str | None) -> None:
    """An instance has come to ``state`` and nobody has run its callbacks: have them run."""
    kind = _KINDS.get(state)
    if kind in instance.node.spec.callbacks:
        step.callbacks.append(encode(TaskCallback(instance.id, instance.try_number, str(kind), reason or "")).decode())


def owe_run(step: Step, run: RunModel, outcome: RunState, reason: str | None) -> None:
    """A run has ended; ``reason`` says why where that was not by its tasks."""
    spec = run.graph.spec
    wanted = spec.has_on_success_callback if outcome is RunState.SUCCESS else spec.has_on_failure_callback
    if not wanted:
        return
    kind = "success" if outcome is RunState.SUCCESS else "failure"
    why = TIMED_OUT if reason else "success" if outcome is RunState.SUCCESS else "task_failure"
    step.callbacks.append(encode(RunCallback(run.id, kind, why)).decode())


def owing_rows(connection: Connection, run: RunModel) -> list[Row[Any]]:
    """Ends in the inbox of a run about to be read anew, which forgets its inbox: ``ti_id, state, reason``."""
    if not run.graph.calls_back:
        return []
    query = (
        select(task_instance.c.id.label("ti_id"), task_instance.c.state, task_instance.c.reason)
        .join(run_inbox, run_inbox.c.task_instance_id == task_instance.c.id)
        .where(
            run_inbox.c.dag_run_id == run.id,
            run_inbox.c.kind == OWING,
            run_inbox.c.attempt_id == task_instance.c.attempt_id,
        )
    )
    return list(connection.execute(query))


def owe_what_was_read(step: Step, run: RunModel) -> None:
    """Have the callbacks run of the ends that :func:`owing_rows` found."""
    rows, run.owing = run.owing, []
    for row in rows:
        instance = run.instances.get(row.ti_id)
        if instance is not None:
            owe(step, instance, TaskState(row.state), row.reason)
