"""Counting what a committed transaction has changed. Per batch, not per row: it costs next to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from executors.context import Stats
from runtime.core.clock import SECOND
from runtime.core.messages import Finished, HeartbeatReply, Reply, Started
from runtime.core.states import AttemptState, TaskState
from runtime.db.transitions import Batch
from runtime.service.attempts import Attempt

_FAILURES = frozenset({TaskState.FAILED.value, TaskState.UP_FOR_RETRY.value})


def count_batch(stats: Stats, batch: Batch) -> None:
    """Starts, ends, and what became of the task instances."""
    if batch.attempt_starts:
        stats.incr("ti.start", len(batch.attempt_starts))
    if batch.attempt_ends:
        stats.incr("ti.finish", len(batch.attempt_ends))
        lost = sum(row["v_state"] == AttemptState.LOST.value for row in batch.attempt_ends)
        if lost:
            stats.incr("scheduler.attempts_lost", lost)
    if batch.ends:
        states = Counter(row["v_state"] for row in batch.ends)
        if successes := states[TaskState.SUCCESS.value]:
            stats.incr("ti_successes", successes)
        if failures := sum(states[state] for state in _FAILURES):
            stats.incr("ti_failures", failures)


def time_queued(stats: Stats, at: int, started: Iterable[Attempt]) -> None:
    """How long the attempts that were granted their start at ``at`` had been with their executors."""
    for attempt in started:
        stats.timing("task.queued_duration", (at - attempt.row.queued_at) / SECOND)


def time_scheduled(stats: Stats, batch: Batch) -> None:
    """How long the task instances that were just queued had waited for it."""
    for row in batch.queues:
        stats.timing("task.scheduled_duration", (row["v_queued_at"] - row["v_scheduled_at"]) / SECOND)


def is_fenced_off(reply: Reply) -> bool:
    """Whether a start, a heartbeat or a final report was refused."""
    if isinstance(reply, Started):
        return not reply.granted
    if isinstance(reply, HeartbeatReply):
        return not reply.go_on
    return isinstance(reply, Finished) and not reply.accepted
