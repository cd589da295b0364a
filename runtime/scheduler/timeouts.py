"""What time brings: retries that are due, runs and attempts that have taken too long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, select

from runtime.core.clock import SECOND
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, AttemptState, RunState, TaskState
from runtime.db.schema import attempt_is_active, dag_run, task_attempt, task_instance
from runtime.scheduler.losses import LossPolicy, lose, watch_until_quiet
from runtime.scheduler.runs import Instance, RunModel
from runtime.scheduler.step import Step
from runtime.service.attempts import Attempt, load_attempts


def fire_timers(step: Step) -> None:
    """Act on the timers that are due and still mean something."""
    for kind, subject in step.memory.timers.due(step.at):
        run = subject if isinstance(subject, RunModel) else subject.run
        if step.memory.runs.get(run.id) is not run or run.id in step.memory.stale:
            continue
        if isinstance(subject, RunModel):
            _time_out_run(step, subject)
        elif kind == "retry" and subject.state is TaskState.UP_FOR_RETRY:
            step.make_ready(subject)
        elif kind == "again" and subject.state is TaskState.SCHEDULED:
            step.memory.enqueue(subject)
        elif kind == "unroutable" and subject.state is TaskState.SCHEDULED:
            step.end_instance(subject, step.take_subject(subject), TaskState.FAILED, subject.reason or "no executor")


def check_heartbeats(step: Step, policy: LossPolicy, timeout: float, *, skew: int, by_http: bool) -> None:
    """Lose attempts whose supervisor has been silent for ``timeout`` seconds: by then it has stopped them itself.

    :param skew: microseconds that the clock of the heartbeats is ahead of the step's.
    :param by_http: also those that report over HTTP; else what they speak through may be what is silent.
    """
    silent = (
        select(task_attempt.c.id)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(
            dag_run.c.lease_owner == step.memory.identity.id,
            attempt_is_active,
            task_attempt.c.state == AttemptState.RUNNING,
            task_attempt.c.heartbeat_at < step.at + skew - round(timeout * SECOND),
        )
    )
    reason = f"no heartbeat for {timeout:.0f} s"
    for attempt, instance in _overdue(step, step.connection.execute(silent).scalars()):
        if not by_http and attempt.row.executor not in policy.piped:
            continue
        if attempt.row.executor in policy.local and attempt.row.hostname == policy.hostname:
            watch_until_quiet(step.memory, attempt, reason)
        else:
            lose(step, policy, instance, attempt, reason)
        step.revoked.append(attempt)
        step.counted["task_instances_without_heartbeats_killed"] += 1
    for row in step.connection.execute(_marked(step.at + skew - round(timeout * SECOND))):
        if by_http or row.executor in policy.piped:
            step.batch.end_attempt(row.id, AttemptState.LOST, reason)


def _marked(before: int) -> Select[Any]:
    """Silent attempts of task instances that somebody marked while they ran: their runs may have ended since."""
    return (
        select(task_attempt.c.id, task_attempt.c.executor)
        .join(task_instance, task_instance.c.attempt_id == task_attempt.c.id)
        .where(
            attempt_is_active,
            task_attempt.c.state == AttemptState.RUNNING,
            task_attempt.c.heartbeat_at < before,
            task_instance.c.state.in_(sorted(TASK_FINISHED)),
        )
    )


def check_queued(step: Step, policy: LossPolicy, timeout: float, *, forgotten: float) -> None:
    """Take back the attempts that nobody has started for ``timeout`` seconds, and dispatch them again.

    :param forgotten: seconds after which this is done with those that no executor of this scheduler holds.
    """
    waiting = (
        select(task_attempt.c.id, task_attempt.c.queued_at)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(
            dag_run.c.lease_owner == step.memory.identity.id,
            attempt_is_active,
            task_attempt.c.state == AttemptState.QUEUED,
            task_attempt.c.queued_at < step.at - round(min(timeout, forgotten) * SECOND),
        )
    )
    since, handed = step.at - round(timeout * SECOND), step.memory.handed
    rows = step.connection.execute(waiting)
    overdue = _overdue(step, [row.id for row in rows if row.queued_at < since or row.id not in handed])
    reasons = _reasons(step, [attempt.row.id for attempt, _ in overdue]) if overdue else {}
    for attempt, instance in overdue:
        why = reasons.get(attempt.row.id)
        reason = f"not started within {timeout:.0f} s{f': {why}' if why else ''}"
        lose(step, policy, instance, attempt, reason if attempt.row.id in handed else "no executor holds it")
        step.revoked.append(attempt)


def _reasons(step: Step, ids: list[str]) -> dict[str, str | None]:
    """What the backends of queued attempts say they wait for."""
    query = select(task_attempt.c.id, task_attempt.c.reason).where(task_attempt.c.id.in_(ids))
    return {row.id: row.reason for row in step.connection.execute(query)}


def _overdue(step: Step, found_ids: Iterable[str]) -> list[tuple[Attempt, Instance]]:
    ids = [identifier for identifier in found_ids if identifier not in step.memory.quiescing]
    found = []
    for attempt in load_attempts(step.connection, ids).values() if ids else ():
        run = step.memory.runs.get(attempt.row.dag_run_id)
        instance = run.instances.get(attempt.row.ti_id) if run is not None and run.id not in step.memory.stale else None
        if instance is not None and attempt.is_current and instance.state in TASK_ACTIVE:
            found.append((attempt, instance))
    return found


def _time_out_run(step: Step, run: RunModel) -> None:
    """``dagrun_timeout``: what has not ended is skipped, what runs is stopped, the run fails (as in Airflow)."""
    reason = f"dagrun_timeout: the run took longer than {run.graph.spec.dagrun_timeout:g} s"
    step.touch(run)
    if run.outcome is not None:
        return  # its last task ended in this very step, which ends the run by what became of its tasks
    active = [i.attempt_id for i in run.open_instances() if i.state in TASK_ACTIVE and i.attempt_id is not None]
    attempts = {a.row.ti_id: a for a in load_attempts(step.connection, active).values()} if active else {}
    for instance in list(run.open_instances()):
        attempt = attempts.get(instance.id)
        if attempt is not None:
            _stop(step, instance, attempt, reason)
        else:
            step.batch.end(step.take_subject(instance), TaskState.SKIPPED, reason=reason)
        instance.state = TaskState.SKIPPED
    step.end_run(run, RunState.FAILED, reason)


def _stop(step: Step, instance: Instance, attempt: Attempt, reason: str) -> None:
    step.release(instance)
    if attempt.state in (AttemptState.QUEUED, AttemptState.RUNNING):
        step.batch.end_attempt(attempt.row.id, AttemptState.LOST, reason)
        step.revoked.append(attempt)
    state = TaskState.FAILED if attempt.ti_state is TaskState.RESTARTING else TaskState.SKIPPED
    step.batch.end(attempt.subject, state, reason=reason)
