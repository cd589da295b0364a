"""What goes back and forth between the scheduler's thread and the lanes: work, ends, questions; events and answers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from executors.events import Accepted, Failed, Lost, Pending, Succeeded
from executors.workload import TaskInstanceRef, Workload
from runtime.core.states import TaskState
from runtime.metrics.collector import Collector
from runtime.scheduler.duties import Brought
from runtime.scheduler.health import STARTING, Health, LaneStatus
from runtime.scheduler.lanes import Lane
from runtime.scheduler.losses import LossPolicy
from runtime.scheduler.mailbox import CallAnswer, CallbackSent
from runtime.scheduler.memory import Memory, Offer
from runtime.scheduler.orders import StandingOrders
from runtime.scheduler.reconciling import Reconciler, Stocktaking
from runtime.scheduler.recovery import offers_again, take_answer
from runtime.scheduler.step import Slots, Step

_WELL = (Health.HEALTHY, Health.DEGRADED)
Offers = dict[str, list[TaskInstanceRef]]
"""Attempts to be adopted, by executor."""


class Exchange:
    """For the scheduler's thread; nothing here blocks.

    :param lanes: by executor name.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        memory: Memory,
        policy: LossPolicy,
        stats: Collector,
        orders: StandingOrders,
    ) -> None:
        self._orders = orders
        self._lanes = lanes
        self._memory = memory
        self._policy = policy
        self._stats = stats
        self.reconciler = Reconciler(lanes, memory, policy)

    def take(self, brought: Brought) -> Brought:
        """Add what the lanes have brought since the last time."""
        ended = {fact.key.attempt_id for fact in brought.final}
        for lane in self._lanes.values():
            for thing in lane.take():
                if isinstance(thing, CallAnswer):
                    self._take_answer(thing)
                elif isinstance(thing, Succeeded | Failed | Lost):
                    if thing.key.attempt_id in ended or thing.key.attempt_id not in self._memory.handed:
                        self._stats.incr("scheduler.duplicate_events")
                    ended.add(thing.key.attempt_id)
                    brought.final.append(thing)
                elif isinstance(thing, Accepted):
                    brought.accepted.append(thing)
                elif isinstance(thing, Pending):
                    brought.pending[thing.key.attempt_id] = thing
                elif isinstance(thing, CallbackSent):
                    brought.callbacks.append(thing)
        return brought

    def _take_answer(self, answer: CallAnswer) -> None:
        if isinstance(answer.token, Stocktaking):
            self.reconciler.take(answer)
        else:
            take_answer(self._memory, self._lanes, answer)

    def hand_over(self, step: Step, offers: Offers) -> None:
        """Pass on what a step decided, once it is committed."""
        by_executor: dict[str, list[Workload]] = defaultdict(list)
        for handed, workload in step.launches:
            self._memory.handed[workload.key.attempt_id] = handed
            by_executor[handed.executor].append(workload)
        for executor, workloads in by_executor.items():
            self._lanes[executor].dispatch(*workloads)
        self._tell_ends(step)
        for offer in (*itertools.starmap(Offer, offers.items()), *offers_again(self._memory, self._lanes)):
            self._offer(offer)

    def statuses(self) -> list[LaneStatus]:
        """How the executors are, in the order of ``[core] executor``."""
        return [self._orders.shown(lane.status()) for lane in self._lanes.values()]

    def slots(self) -> Slots:
        """How many more attempts each executor takes."""
        occupied = self._memory.occupied()
        statuses = {status.name: status for status in self.statuses()}
        starting = {name for name, status in statuses.items() if status.reason == STARTING}
        sick = {
            name: _illness(status)
            for name, status in statuses.items()
            if status.health not in _WELL and name not in starting
        }
        free = {name: _room(status, occupied.get(name, 0)) for name, status in statuses.items()}
        return Slots(free, sick, starting)

    def _tell_ends(self, step: Step) -> None:
        """Tell executors which of their attempts have started or reported, and which must be stopped.

        Not those that are there when it happens: what is piped goes through them.
        """
        for handed in step.started:
            if handed.executor in self._lanes:
                self._lanes[handed.executor].started(handed.key)
        for handed in step.reported:
            if handed.executor not in self._policy.piped and handed.executor in self._lanes:
                self._lanes[handed.executor].reported(handed.key)
        over = {row["b_id"] for row in step.batch.attempt_ends}
        for attempt in step.revoked:
            if attempt.row.executor in self._lanes:
                self._memory.handed.pop(attempt.row.id, None)
                if attempt.ti_state is TaskState.RESTARTING and attempt.row.id not in over:
                    self._memory.stopping.add(attempt.row.id)
                self._lanes[attempt.row.executor].revoke(attempt.reference)

    def _offer(self, offer: Offer) -> None:
        token = replace(offer, asked=offer.asked + 1)
        self._memory.offered.update(ref.key.attempt_id for ref in offer.refs)
        if offer.executor in self._lanes:
            self._lanes[offer.executor].call("try_adopt_task_instances", offer.refs, token=token)
        else:
            take_answer(self._memory, self._lanes, CallAnswer(token, error="the executor is no longer configured"))


def _room(status: LaneStatus, occupied: int) -> int:
    if status.health not in _WELL:
        return 0
    return (status.parallelism or 2**31) - occupied


def _illness(status: LaneStatus) -> str:
    return f"{status.health} ({status.reason})" if status.reason else str(status.health)
