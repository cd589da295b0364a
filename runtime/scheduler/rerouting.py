"""Takes attempts back that wait at an executor for too long, and lets them go on to the next one of their chain.

Fenced: the attempt ends first, by a guarded write, and only where it has not been started; a launch of it that comes
later is refused the start. It costs the task nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice

from sqlalchemy import bindparam, select

from runtime.core.clock import SECOND
from runtime.core.routes import FallbackPolicy
from runtime.core.states import AttemptState, TaskState
from runtime.db.schema import task_attempt
from runtime.scheduler.losses import launch_elsewhere
from runtime.scheduler.memory import Handed
from runtime.scheduler.runs import Instance
from runtime.scheduler.step import Slots, Step
from runtime.service.attempts import Attempt, load_attempts

MOST = 500
"""Looked at in one step."""
_UNSTARTED = select(task_attempt.c.id).where(
    task_attempt.c.id.in_(bindparam("b_ids", expanding=True)), task_attempt.c.state == AttemptState.QUEUED
)


def reroute_waiting(step: Step, slots: Slots) -> None:
    """Act on the attempts whose executor is sick, or has not started them for ``queued_longer_than`` seconds."""
    policy = step.memory.router.fallback
    if not policy.unavailable and policy.queued_longer_than == math.inf:
        return
    waiting = dict(islice(_candidates(step, slots, policy), MOST))
    if not waiting:
        return
    # Most of them run by now; only the others are locked.
    unstarted = step.connection.execute(_UNSTARTED, {"b_ids": list(waiting)}).scalars().all()
    for identifier, attempt in load_attempts(step.connection, unstarted).items() if unstarted else ():
        if attempt.is_current and attempt.state is AttemptState.QUEUED and attempt.ti_state is TaskState.QUEUED:
            instance = waiting[identifier]
            if reason := _why(step, policy, slots.sick, attempt):
                launch_elsewhere(step, instance, attempt, f"taken back from {attempt.row.executor}, which {reason}")


def _candidates(step: Step, slots: Slots, policy: FallbackPolicy) -> Iterator[tuple[str, Instance]]:
    """Those that have another executor to go to, which could take them now."""
    memory = step.memory
    room = {name: free for name, free in slots.free.items() if free > 0}
    for identifier, handed in memory.handed.items():
        if len(room) == 0:
            return
        instance = memory.find(identifier)
        if instance is None or instance.state is not TaskState.QUEUED or instance.run.id in memory.stale:
            continue
        overdue = step.at - (instance.scheduled_at or step.at) >= policy.queued_longer_than * SECOND
        if not overdue and not (policy.unavailable and handed.executor in slots.sick):
            continue
        if any(name in room for name in _next(step, instance, handed)):
            yield identifier, instance


def _next(step: Step, instance: Instance, handed: Handed) -> tuple[str, ...]:
    chain = step.memory.router.route(instance.run.graph.spec, instance.node.spec).chain
    return chain[chain.index(handed.executor) + 1 :] if handed.executor in chain else ()


def _why(step: Step, policy: FallbackPolicy, sick: Mapping[str, str], attempt: Attempt) -> str:
    executor = attempt.row.executor
    if policy.unavailable and executor in sick:
        return f"is {sick[executor]}"
    waited = (step.at - attempt.row.queued_at) / SECOND
    return f"has not started it for {waited:.0f} s" if waited >= policy.queued_longer_than else ""
