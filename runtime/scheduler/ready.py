"""Task instances that may run and wait for a slot: a queue per executor, and a park for those that a limit holds.

A full or sick executor hides nobody else's work, and a task that a limit blocks steps out of the queue instead of
standing at its head (apache/airflow #45636): it is parked under that limit and comes back when the limit frees.

Tasks that may fall back to other executors stand in a queue of their *chain*, one for all that name the same executors
in the same order: whose turn it is there costs the same whether or not its first executor is full.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from runtime.core.states import TaskState
from runtime.scheduler.runs import Instance

Chain = tuple[str, ...]
"""Executors in the order in which they are tried; mostly just one."""
LimitKey = tuple[str, str]
"""What blocks: ("pool", name), ("run", run id), ("paused", dag id), ("task", dag and task id), ("task in run", run and
task id)."""
Bay = tuple[Chain, int]
"""Where an entry is parked under a limit: with those of its chain that need as many places of it."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """Sorts by priority, then by age of the run, then by arrival."""

    negative_priority: int
    run_after: int
    sequence: int
    instance: Instance = field(compare=False)

    @property
    def is_live(self) -> bool:
        """Whether it still waits: a cleared, skipped or dropped one is forgotten when it is met."""
        return self.instance.state is TaskState.SCHEDULED


class ReadyQueues:
    """Not thread-safe; the scheduler's main thread owns it."""

    def __init__(self) -> None:
        self._queues: dict[Chain, list[Entry]] = {}
        self._parked: dict[LimitKey, dict[Bay, list[Entry]]] = {}
        self._sequence = 0

    def add(self, instance: Instance, *chain: str) -> None:
        """Let ``instance``, which is *scheduled*, wait for a slot of an executor of ``chain``."""
        self._sequence += 1
        instance.chain, instance.executor = chain, chain[0]
        entry = Entry(-instance.node.spec.priority_weight, instance.run.run_after, self._sequence, instance)
        heapq.heappush(self._queues.setdefault(chain, []), entry)

    def put_back(self, entry: Entry) -> None:
        """Let it wait again, with its old place."""
        heapq.heappush(self._queues.setdefault(entry.instance.chain, []), entry)

    def unpark(self, limit: LimitKey, count: int) -> None:
        """The limit freed ``count`` places: let those that may fit into them stand in their queues again, best first.

        As many of each executor, for the one that has the best may be full. Of those that need more places than were
        freed, one, for there may be more: had there been room for another, it would not have been parked.
        """
        parked = self._parked.get(limit, {})
        for bay, entries in list(parked.items()):
            self._unpark(entries, -(-count // bay[1]))
            if not entries:
                del parked[bay]
        if not parked:
            self._parked.pop(limit, None)

    def unpark_everything(self, limit: LimitKey) -> None:
        """The limit is no more."""
        for entries in self._parked.pop(limit, {}).values():
            self._unpark(entries, len(entries))

    @property
    def waits_for_others(self) -> bool:
        """Whether a limit that several schedulers share holds somebody up."""
        return any(kind in ("pool", "task") for kind, _ in self._parked)

    def look_again(self, pools: Mapping[str, int]) -> None:
        """A limit may have been raised from outside: as many as there is room for stand in their queues again. Forgets
        what is dead. Not all at once: whoever waits behind a pool, in thousands, would hold up a step for everybody.

        :param pools: the free slots of each; of another limit, one place is tried.
        """
        parked = (entries for bays in self._parked.values() for entries in bays.values())
        for entries in (*self._queues.values(), *parked):
            _forget_dead(entries)
        for kind, name in list(self._parked):
            self.unpark((kind, name), max(1, pools.get(name, 0)) if kind == "pool" else 1)

    def choose(
        self,
        free: Mapping[str, int],
        blocked_by: Callable[[Instance], LimitKey | None],
        leaves: Callable[[str], bool] = lambda _: False,
    ) -> list[Entry]:
        """Take entries, of each executor at most its ``free`` slots, highest priority first.

        ``blocked_by`` is asked once an entry and counts the ones it lets through; those it blocks are parked.
        ``leaves(executor)``: whether tasks may go on to the next of their chain when this one has no slot for them.
        Each entry's ``instance.executor`` is the one it was chosen for.
        """
        left = dict(free)
        queues = self._queues.items()
        heads = [(queue[0], chain) for chain, queue in queues if queue and _target(chain, left, leaves)]
        heapq.heapify(heads)
        chosen: list[Entry] = []
        while heads:
            _, chain = heapq.heappop(heads)
            target = _target(chain, left, leaves)
            if target is None:
                continue
            queue = self._queues[chain]
            entry = heapq.heappop(queue)
            if entry.is_live:
                limit = blocked_by(entry.instance)
                if limit is None:
                    entry.instance.executor = target
                    chosen.append(entry)
                    left[target] -= 1
                else:
                    self._park(entry, limit, chain)
            if queue:
                heapq.heappush(heads, (queue[0], chain))
        return chosen

    def waiting(self) -> Iterable[Instance]:
        """Everything that waits, parked or not."""
        parked = (entries for bays in self._parked.values() for entries in bays.values())
        for entries in (*self._queues.values(), *parked):
            yield from (entry.instance for entry in entries if entry.is_live)

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def _park(self, entry: Entry, limit: LimitKey, chain: Chain) -> None:
        places = entry.instance.node.spec.pool_slots if limit[0] == "pool" else 1
        heapq.heappush(self._parked.setdefault(limit, {}).setdefault((chain, places), []), entry)

    def _unpark(self, entries: list[Entry], count: int) -> None:
        while entries and count > 0:
            entry = heapq.heappop(entries)
            if entry.is_live:
                self.put_back(entry)
                count -= 1


def _forget_dead(entries: list[Entry]) -> None:
    alive = [entry for entry in entries if entry.is_live]
    if len(alive) < len(entries):
        entries[:] = alive
        heapq.heapify(entries)


def _target(chain: Chain, left: Mapping[str, int], leaves: Callable[[str], bool]) -> str | None:
    """The first executor of the chain with a free slot; ``None`` where one before it is to be waited for."""
    for executor in chain:
        if left.get(executor, 0) > 0:
            return executor
        if not leaves(executor):
            return None
    return None
