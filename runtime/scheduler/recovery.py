"""Attempts that a run brings along when it is loaded, and that no executor of this scheduler is known to hold.

Local ones ended with their scheduler, as soon as nothing of them runs here any more. Remote ones are offered to their
executor for adoption; one that was never started may be handed over once more, with the same id, without harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from executors.workload import TaskInstanceRef
from runtime.core.states import ATTEMPT_ACTIVE, TASK_ACTIVE, AttemptState
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.losses import LossPolicy, lose, watch_until_quiet
from runtime.scheduler.mailbox import CallAnswer
from runtime.scheduler.memory import Handed, Memory, Offer
from runtime.scheduler.runs import RunModel
from runtime.scheduler.step import Step, make_workload
from runtime.service.attempts import load_attempts

GONE = "its scheduler ended"
MOST_OFFERS = 5
"""Times that an executor which is healthy again is asked to adopt, before its attempts are left to themselves."""


def recover(step: Step, policy: LossPolicy, runs: Sequence[RunModel]) -> dict[str, list[TaskInstanceRef]]:
    """See to the orphans of ``runs``; return those to be offered for adoption, by executor, after the commit."""
    orphans = {
        instance.attempt_id: instance
        for run in runs
        for instance in run.instances.values()
        if instance.state in TASK_ACTIVE
        and instance.attempt_id is not None
        and instance.attempt_id not in step.memory.handed
        and instance.attempt_id not in step.memory.quiescing
        and instance.attempt_id not in step.memory.stopping
    }
    offered: dict[str, list[TaskInstanceRef]] = defaultdict(list)
    for identifier, attempt in load_attempts(step.connection, list(orphans)).items() if orphans else ():
        if attempt.state not in ATTEMPT_ACTIVE:
            continue
        instance, executor = orphans[identifier], attempt.row.executor
        here = attempt.row.hostname in (None, policy.hostname)
        if executor in policy.local and attempt.state is AttemptState.QUEUED:
            lose(step, policy, instance, attempt, GONE)
        elif executor in policy.local and here:
            watch_until_quiet(step.memory, attempt, GONE)
        elif executor not in policy.local:
            step.memory.handed[identifier] = Handed(executor, instance.run.id, instance.id, attempt.reference.key)
            step.taken_over.append(identifier)
            offered[executor].append(attempt.reference)
        # A local attempt of another host is lost when its heartbeats stop.
    return offered


def offers_again(memory: Memory, lanes: Mapping[str, Lane]) -> list[Offer]:
    """Take the offers whose executors can answer now, without the attempts that have ended meanwhile."""
    kept: list[Offer] = []
    ready: list[Offer] = []
    for offer in memory.unadopted:
        if lanes[offer.executor].status().health is not Health.HEALTHY:
            kept.append(offer)
        elif refs := _still_open(memory, offer.refs):
            ready.append(replace(offer, refs=refs))
    memory.unadopted = kept
    return ready


def _still_open(memory: Memory, refs: Sequence[TaskInstanceRef]) -> list[TaskInstanceRef]:
    """The others' slots are free: their executor never knew of them, so it will not say so."""
    for ref in refs:
        if not memory.is_open(ref.key.attempt_id):
            memory.handed.pop(ref.key.attempt_id, None)
            memory.offered.discard(ref.key.attempt_id)
    return [ref for ref in refs if ref.key.attempt_id in memory.handed]


def tell_of_ends(step: Step, dag_run_id: int) -> None:
    """See to what executors hold of a run that was read again, and that is over: the inbox rows that would have told of
    it went with the reading.
    """
    memory = step.memory
    over = [
        identifier
        for identifier, handed in memory.handed.items()
        if handed.dag_run_id == dag_run_id and not memory.is_open(identifier)
    ]
    for identifier, attempt in load_attempts(step.connection, over).items() if over else ():
        if attempt.state is AttemptState.LOST:
            step.revoked.append(attempt)
        elif attempt.state not in ATTEMPT_ACTIVE:
            step.reported.append(memory.handed[identifier])


def stop_cleared(step: Step) -> None:
    """Have the attempts of cleared task instances stopped; a running one's report then lets its instance begin anew."""
    if step.cleared:
        step.revoked += load_attempts(step.connection, step.cleared).values()


def take_answer(memory: Memory, lanes: Mapping[str, Lane], answer: CallAnswer) -> None:
    """An executor has said which attempts it could not adopt: hand over again what never started, forget the rest.

    One that could not say is asked again: its attempts may well be there.
    """
    offer = cast("Offer", answer.token)
    executor = offer.executor
    if answer.error is not None and executor in lanes and offer.asked < MOST_OFFERS:
        memory.unadopted.append(offer)
        return
    memory.offered.difference_update(ref.key.attempt_id for ref in offer.refs)
    missing = {ref.key for ref in (answer.value if answer.error is None else offer.refs)}
    for ref in offer.refs:
        if ref.key not in missing:
            continue
        instance = memory.find(ref.key.attempt_id)
        if instance is not None and not ref.started and executor in lanes:
            lanes[executor].dispatch(make_workload(instance, ref.key.attempt_id))
        else:
            # Its supervisor may live and report; if it does not, the heartbeat timeout settles it. It takes no slot.
            memory.handed.pop(ref.key.attempt_id, None)
