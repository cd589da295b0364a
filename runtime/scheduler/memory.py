"""What the scheduler remembers between two steps. All of it can be built again from the database."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.core.routing import Router
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, TaskState
from runtime.scheduler.leases import Identity
from runtime.scheduler.limits import PoolAccess
from runtime.scheduler.loading import GraphCache
from runtime.scheduler.processes import AttemptProcess
from runtime.scheduler.ready import ReadyQueues
from runtime.scheduler.runs import Instance, RunModel

UNROUTED = ""
"""Queue of the instances whose executor is not configured: it never has a slot."""


class Timers:
    """What to look at later: (moment, kind, instance or run). Stale entries are harmless: the reader checks."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str, Instance | RunModel]] = []
        self._count = 0

    def add(self, due: int, kind: str, subject: Instance | RunModel) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, kind, subject))

    def due(self, at: int) -> Iterator[tuple[str, Instance | RunModel]]:
        """Take what is due."""
        while self._heap and self._heap[0][0] <= at:
            _, _, kind, subject = heapq.heappop(self._heap)
            yield kind, subject

    @property
    def next_due(self) -> int | None:
        return self._heap[0][0] if self._heap else None


@dataclass(frozen=True, slots=True)
class Handed:
    """An attempt that an executor of this scheduler holds."""

    executor: str
    dag_run_id: int
    task_instance_id: str
    key: TaskInstanceKey


@dataclass(frozen=True, slots=True)
class Quiescing:
    """An attempt that ended badly on this host; its consequences wait until nothing of it runs any more."""

    process: AttemptProcess
    reason: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Attempts to be adopted by an executor, and how often it was asked before."""

    executor: str
    refs: list[TaskInstanceRef]
    asked: int = 0


@dataclass
class Memory:
    """The state of one scheduler process; its main thread owns it."""

    identity: Identity
    router: Router
    graphs: GraphCache = field(default_factory=GraphCache)
    runs: dict[int, RunModel] = field(default_factory=dict)
    ready: ReadyQueues = field(default_factory=ReadyQueues)
    pools: PoolAccess = field(default_factory=PoolAccess)
    timers: Timers = field(default_factory=Timers)
    handed: dict[str, Handed] = field(default_factory=dict)
    """By attempt id, until the executor's final event."""
    quiescing: dict[str, Quiescing] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    """Attempts of cleared instances that their executor was asked to stop: they get their grace, and report."""
    unadopted: list[Offer] = field(default_factory=list)
    """To be made again: the executor could not answer. Their attempts take their slots meanwhile."""
    offered: set[str] = field(default_factory=set)
    """Attempts that an executor was asked to adopt, until it has said which it has."""
    stale: set[int] = field(default_factory=set)
    """Runs whose model must be read again."""
    quarantined: set[int] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    """Why an instance has no executor, by instance id."""

    def enqueue(self, instance: Instance) -> None:
        """Route a *scheduled* instance and let it wait."""
        route = self.router.route(instance.run.graph.spec, instance.node.spec)
        instance.reason = route.reason
        if not route.chain:
            self.held[instance.id] = route.reason
        if route.fails:
            self.timers.add(0, "unroutable", instance)
        else:
            self.ready.add(instance, *(self._remaining(instance, route.chain) or (UNROUTED,)))

    def _remaining(self, instance: Instance, chain: tuple[str, ...]) -> tuple[str, ...]:
        """Without those that this try was taken back from, unless there are no others."""
        remaining = tuple(name for name in chain if name not in instance.left)
        if not remaining or len(remaining) == len(chain):
            return chain
        instance.reason = f"{instance.reason}; taken back from {', '.join(instance.left)}"
        return remaining

    def drop(self, run: RunModel) -> None:
        """Forget a run; what of it still stands in queues and timers is dead."""
        self.runs.pop(run.id, None)
        self.stale.discard(run.id)
        for instance in run.instances.values():
            self.held.pop(instance.id, None)
            if instance.state not in TASK_FINISHED:
                instance.state = TaskState.REMOVED
        # A timer may stand for days, and must not keep all of the run in memory.
        run.clear()

    def occupied(self) -> dict[str, int]:
        """Slots in use by executor."""
        slots: dict[str, int] = {}
        for handed in self.handed.values():
            slots[handed.executor] = slots.get(handed.executor, 0) + 1
        return slots

    def is_open(self, attempt_id: str) -> bool:
        """Whether the attempt is still its instance's current one, without a report that was applied."""
        instance = self.find(attempt_id)
        return instance is not None and instance.state in TASK_ACTIVE

    def find(self, attempt_id: str) -> Instance | None:
        """The instance whose current attempt this is, if its run is loaded."""
        handed = self.handed.get(attempt_id)
        run = self.runs.get(handed.dag_run_id) if handed else None
        instance = run.instances.get(handed.task_instance_id) if run and handed else None
        return instance if instance is not None and instance.attempt_id == attempt_id else None
