"""Finds leaks: what executors hold, what this scheduler remembers and what the database says, compared.

Each of the three is right by itself as long as every message between them arrives, and a slot that one of them has
forgotten to free would be gone until a restart. So each executor is asked now and then what it holds. Where it differs
in two rounds in a row, news under way cannot be why, and it is put right by what the database says:

========== ============= ======== ==============================================================================
executor   scheduler     database
========== ============= ======== ==============================================================================
holds it   does not      open     remembered again, if its run is this scheduler's
holds it   does not      over     the executor is told to forget it, and to stop what is left of it
holds it   remembers     over     the same, once it has been over for so long that its silence would prove its end
has none   remembers     open     it is lost: launched again, if its start was never granted
has none   remembers     over     its slot is freed
none       does not      queued   the same as lost
========== ============= ======== ==============================================================================

What backends hold beyond their executor (pods, messages) is each executor's own to look after.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from executors.events import Lost
from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.core.clock import SECOND
from runtime.core.states import ATTEMPT_ACTIVE
from runtime.db.schema import dag_run, task_attempt, task_instance
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.losses import LossPolicy, resolve
from runtime.scheduler.mailbox import CallAnswer
from runtime.scheduler.memory import Handed, Memory
from runtime.scheduler.step import Step

log = logging.getLogger(__name__)

LEAKS = "scheduler.leaks_mended"


@dataclass(frozen=True, slots=True)
class Stocktaking:
    """That an executor was asked what it holds, and the attempts that it had been handed by then."""

    executor: str
    handed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Differences:
    """Of one executor, in one round."""

    missing: frozenset[str] = frozenset()
    """Attempts that it has been handed and does not hold."""
    surplus: frozenset[TaskInstanceKey] = frozenset()
    """Those that it holds and need not: unknown to this scheduler, or over."""

    def confirmed_by(self, later: Differences) -> Differences:
        return Differences(self.missing & later.missing, self.surplus & later.surplus)


class Reconciler:
    """:param lanes: by executor name."""

    def __init__(self, lanes: Mapping[str, Lane], memory: Memory, policy: LossPolicy) -> None:
        self._lanes = lanes
        self._memory = memory
        self._policy = policy
        self._answers: dict[str, Differences] = {}
        self._suspected: dict[str, Differences] = {}

    def take(self, answer: CallAnswer) -> None:
        """An executor has said what it holds, or could not: then nothing is known."""
        assert isinstance(answer.token, Stocktaking)
        if answer.error is None:
            asked = answer.token
            self._answers[asked.executor] = compare(self._memory, asked, answer.value)

    def check(self, step: Step, lingering: float) -> None:
        """Put right what two rounds in a row have found, and ask anew.

        :param lingering: seconds after which what is over and still held has leaked.
        """
        for name, found in self._answers.items():
            differences = self._suspected.get(name, Differences()).confirmed_by(found)
            self._mend_missing(step, name, differences.missing)
            self._mend_surplus(step, name, differences.surplus, lingering)
        self._suspected, self._answers = self._answers, {}
        for name, lane in self._lanes.items():
            if lane.status().health is Health.HEALTHY:
                lane.take_stock(Stocktaking(name, self._held_by(name)))

    def _held_by(self, executor: str) -> frozenset[str]:
        handed = self._memory.handed.items()
        return frozenset(identifier for identifier, one in handed if one.executor == executor)

    def _mend_missing(self, step: Step, executor: str, missing: Collection[str]) -> None:
        known = {identifier: self._memory.handed[identifier] for identifier in missing & self._memory.handed.keys()}
        if not known:
            return
        reason = f"{executor} no longer knows of it"
        resolve(step, self._policy, [Lost(handed.key, reason) for handed in known.values()])
        for identifier in known:
            log.warning("leak: attempt %s was handed to %s, which holds nothing of it", identifier, executor)
            step.freed[identifier] = self._memory.handed.pop(identifier)
            step.counted[LEAKS] += 1

    def _mend_surplus(self, step: Step, executor: str, surplus: Collection[TaskInstanceKey], lingering: float) -> None:
        if not surplus:
            return
        rows = {row.id: row for row in step.connection.execute(_facts([key.attempt_id for key in surplus]))}
        over_since = step.at - round(lingering * SECOND)
        for key in surplus:
            row, handed = rows.get(key.attempt_id), self._memory.handed.get(key.attempt_id)
            if row is not None and row.state in ATTEMPT_ACTIVE:
                if handed is None and row.lease_owner == self._memory.identity.id:
                    remembered = Handed(executor, row.dag_run_id, row.task_instance_id, key)
                    self._memory.handed[key.attempt_id] = remembered
            elif handed is None or row is None or row.ended_at < over_since:
                log.warning("leak: %s held attempt %s, which is over; it is told to forget it", executor, key)
                step.freed.update({key.attempt_id: handed} if handed else {})
                self._memory.handed.pop(key.attempt_id, None)
                self._lanes[executor].revoke(_reference(key, row))
                step.counted[LEAKS] += 1


def compare(memory: Memory, asked: Stocktaking, held: Collection[TaskInstanceKey]) -> Differences:
    """What is not as this scheduler remembers it. Attempts that are being offered for adoption are not held yet."""
    ids = {key.attempt_id for key in held}
    missing = asked.handed & memory.handed.keys() - ids - memory.offered
    return Differences(frozenset(missing), frozenset(_surplus(memory, held)))


def _surplus(memory: Memory, held: Collection[TaskInstanceKey]) -> Iterator[TaskInstanceKey]:
    for key in held:
        if not memory.is_open(key.attempt_id) and key.attempt_id not in memory.stopping:
            yield key


def _facts(ids: Collection[str]) -> Any:
    return (
        select(
            task_attempt.c.id,
            task_attempt.c.state,
            task_attempt.c.ended_at,
            task_attempt.c.external_id,
            task_attempt.c.task_instance_id,
            task_attempt.c.dag_run_id,
            task_instance.c.queue,
            dag_run.c.lease_owner,
        )
        .join(task_instance, task_instance.c.id == task_attempt.c.task_instance_id)
        .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
        .where(task_attempt.c.id.in_(ids))
    )


def _reference(key: TaskInstanceKey, row: Row[Any] | None) -> TaskInstanceRef:
    if row is None:
        return TaskInstanceRef(key)
    return TaskInstanceRef(key, queue=row.queue, external_executor_id=row.external_id, started=True)
