"""What becomes of an attempt that ended without a report: launched again, retried, or failed.

Before its start was granted nothing of it ever ran: it is dispatched again without charge. After it, the new attempt
waits until the old one is quiet, and is charged to ``infra_retries``, apart from the user's ``retries``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from executors.events import Failed, Lost, Succeeded
from runtime.core.clock import SECOND, later
from runtime.core.retries import retry_pause
from runtime.core.states import ATTEMPT_ACTIVE, TASK_FINISHED, AttemptState, TaskState
from runtime.db.transitions import Subject
from runtime.scheduler import callbacks
from runtime.scheduler.memory import Memory, Quiescing
from runtime.scheduler.processes import AttemptProcess, kill_attempts
from runtime.scheduler.runs import Instance
from runtime.scheduler.step import Step
from runtime.service.attempts import Attempt, load_attempts

FREE_DISPATCHES = 3
MOST_DISPATCHES = 20
"""Dispatches of one try: after the third they slow down, after the last the try fails, so that a launch that never
works does not spin for ever."""
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class LossPolicy:
    """:param infra_retries: how many losses after a granted start are forgiven, per task instance.

    :param local: executors whose attempts run on this host and end with this process.
    :param piped: those of them whose attempts report through this process, and not over HTTP.
    """

    infra_retries: int
    hostname: str
    local: Container[str]
    piped: Container[str] = ()


def resolve(step: Step, policy: LossPolicy, facts: Iterable[Succeeded | Failed | Lost]) -> None:
    """Act on final events whose attempts, after the inbox was read, still have no report."""
    by_attempt = {fact.key.attempt_id: fact for fact in facts if step.memory.is_open(fact.key.attempt_id)}
    if not by_attempt:
        return
    for identifier, attempt in load_attempts(step.connection, list(by_attempt)).items():
        instance = _instance(step.memory, attempt)
        if instance is not None and attempt.is_current and attempt.state in ATTEMPT_ACTIVE:
            _resolve(step, policy, instance, attempt, by_attempt[identifier])


def settle_quiet(step: Step, policy: LossPolicy) -> None:
    """Kill what is left of lost local attempts; those of which nothing is left have their consequences."""
    memory = step.memory
    if not memory.quiescing:
        return
    noisy = kill_attempts([entry.process for entry in memory.quiescing.values()])
    quiet = [identifier for identifier in memory.quiescing if identifier not in noisy]
    for identifier, attempt in load_attempts(step.connection, quiet).items():
        instance = _instance(memory, attempt)
        if instance is not None and attempt.is_current and attempt.state in ATTEMPT_ACTIVE:
            lose(step, policy, instance, attempt, memory.quiescing[identifier].reason)
    step.quieted += quiet


def lose(step: Step, policy: LossPolicy, instance: Instance, attempt: Attempt, reason: str) -> None:
    """The attempt is over and quiet, and nobody reported it."""
    step.touch(instance.run)
    step.memory.stopping.discard(attempt.row.id)
    step.batch.end_attempt(attempt.row.id, AttemptState.LOST, reason)
    if attempt.ti_state in TASK_FINISHED:
        return  # somebody marked it while it ran: it has its state, and holds no place under any limit
    step.release(instance)
    if attempt.ti_state is TaskState.RESTARTING:
        _clear(step, instance, attempt, reason)
    elif attempt.state is AttemptState.QUEUED:
        _launch_again(step, instance, attempt.subject, reason)
    elif instance.infra_losses < policy.infra_retries:
        instance.infra_losses += 1
        _schedule_again(step, instance, attempt.subject, reason, 0.0)
    else:
        fail(step, instance, attempt.subject, reason)


def launch_elsewhere(step: Step, instance: Instance, attempt: Attempt, reason: str) -> None:
    """Nobody has started the attempt, and nobody may any more: the task goes on to the next executor of its chain."""
    step.touch(instance.run)
    step.batch.end_attempt(attempt.row.id, AttemptState.LOST, reason)
    step.release(instance)
    step.revoked.append(attempt)
    instance.left += (attempt.row.executor,)
    _schedule_again(step, instance, attempt.subject, reason, 0.0)


def fail(step: Step, instance: Instance, subject: Subject, reason: str) -> None:
    """The try failed: another one, or the end."""
    if instance.try_number <= instance.max_tries:
        instance.retry_at = later(step.at, _pause(instance))
        step.batch.end(subject, TaskState.UP_FOR_RETRY, reason=reason, retry_at=instance.retry_at)
        callbacks.owe(step, instance, TaskState.UP_FOR_RETRY, reason)
        instance.run.move(instance, TaskState.UP_FOR_RETRY)
        # Not in this step, which could not write both that it failed and that it is queued again.
        step.memory.timers.add(max(instance.retry_at, step.at + 1), "retry", instance)
    else:
        step.end_instance(instance, subject, TaskState.FAILED, reason)


def watch_until_quiet(memory: Memory, attempt: Attempt, reason: str) -> None:
    """Let :func:`settle_quiet` see to a local attempt."""
    row = attempt.row
    process = AttemptProcess(row.id, row.pid, row.pid_started, row.boot_id)
    memory.quiescing[row.id] = Quiescing(process, reason)


def _resolve(
    step: Step, policy: LossPolicy, instance: Instance, attempt: Attempt, fact: Succeeded | Failed | Lost
) -> None:
    if isinstance(fact, Succeeded):
        _succeed(step, instance, attempt, fact.info)
        return
    reason = fact.reason or "the executor gave no reason"
    if attempt.row.executor in policy.local and attempt.state is AttemptState.RUNNING:
        watch_until_quiet(step.memory, attempt, reason)
    elif isinstance(fact, Failed) and (fact.refused if attempt.state is AttemptState.QUEUED else fact.ended):
        _fail_attempt(step, instance, attempt, reason)
    elif attempt.state is AttemptState.QUEUED or fact.ended:
        lose(step, policy, instance, attempt, reason)
    # Another remote attempt that was granted the start may still run, whatever its backend says of it: only the
    # heartbeat timeout proves that its supervisor has stopped it.


def _fail_attempt(step: Step, instance: Instance, attempt: Attempt, reason: str) -> None:
    """Nothing of it runs, and the fault is its own: it costs a try."""
    step.touch(instance.run)
    step.memory.stopping.discard(attempt.row.id)
    step.batch.end_attempt(attempt.row.id, AttemptState.FAILED, reason)
    step.release(instance)
    if attempt.ti_state is TaskState.RESTARTING:
        _clear(step, instance, attempt, reason)
    else:
        fail(step, instance, attempt.subject, reason)


def _clear(step: Step, instance: Instance, attempt: Attempt, reason: str) -> None:
    """It was cleared while it ran, and has ended."""
    step.batch.end(attempt.subject, TaskState.NONE, reason=reason)
    step.memory.stale.add(instance.run.id)


def _succeed(step: Step, instance: Instance, attempt: Attempt, info: str | None) -> None:
    """A verified exit code 0 without a report: a command that is no worker of ours."""
    step.touch(instance.run)
    step.batch.end_attempt(attempt.row.id, AttemptState.SUCCESS, info)
    step.release(instance)
    if attempt.ti_state is TaskState.RESTARTING:
        _clear(step, instance, attempt, "cleared")
        return
    step.batch.end(attempt.subject, TaskState.SUCCESS, reason=info)
    callbacks.owe(step, instance, TaskState.SUCCESS, info)
    step.follow(instance.run.end(instance, TaskState.SUCCESS))


def _pause(instance: Instance) -> float:
    """Seconds until the next try, by the same rule as where the worker tells it."""
    spec, run = instance.node.spec, instance.run
    return retry_pause(
        spec.retry_delay,
        spec.retry_exponential_backoff,
        spec.max_retry_delay,
        dag_id=run.graph.dag_id,
        task_id=spec.task_id,
        run_id=run.run_id,
        try_number=instance.try_number,
    )


def _launch_again(step: Step, instance: Instance, subject: Subject, reason: str) -> None:
    number = instance.dispatch_number
    if number >= MOST_DISPATCHES:
        fail(step, instance, subject, f"not started after {number} dispatches: {reason}")
        return
    pause = 0.0 if number < FREE_DISPATCHES else min(LONGEST_PAUSE, 0.5 * 2.0 ** (number - FREE_DISPATCHES))
    _schedule_again(step, instance, subject, reason, pause)


def _schedule_again(step: Step, instance: Instance, subject: Subject, reason: str, pause: float) -> None:
    step.batch.schedule(subject, same_try=True, infra_losses=instance.infra_losses, reason=reason)
    instance.run.move(instance, TaskState.SCHEDULED)
    instance.scheduled_at = step.at
    # In the next step: this one has already written that the instance is *scheduled*.
    step.memory.timers.add(step.at + round(pause * SECOND), "again", instance)


def _instance(memory: Memory, attempt: Attempt) -> Instance | None:
    run = memory.runs.get(attempt.row.dag_run_id)
    return run.instances.get(attempt.row.ti_id) if run is not None else None
