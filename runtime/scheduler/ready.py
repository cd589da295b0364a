"""Task instances that may run and wait for a slot: a queue per executor, and a park for those that a limit holds.

A full or sick executor hides nobody else's work, and a task that a limit blocks steps out of the queue instead of
standing at its head (apache/airflow #45636): it is parked under that limit and comes back when the limit frees.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from runtime.core.states import TaskState
from runtime.scheduler.runs import Instance

LimitKey = tuple[str, str]
"""What blocks: ("pool", name), ("run", run id), ("paused", dag id)."""


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
        self._queues: dict[str, list[Entry]] = {}
        self._parked: dict[LimitKey, dict[str, list[Entry]]] = {}
        self._sequence = 0

    def add(self, instance: Instance, executor: str) -> None:
        """Let ``instance``, which is *scheduled*, wait for a slot of ``executor``."""
        self._sequence += 1
        instance.executor = executor
        entry = Entry(-instance.node.spec.priority_weight, instance.run.run_after, self._sequence, instance)
        heapq.heappush(self._queues.setdefault(executor, []), entry)

    def put_back(self, entry: Entry) -> None:
        """Let it wait again, with its old place."""
        heapq.heappush(self._queues.setdefault(entry.instance.executor, []), entry)

    def unpark(self, limit: LimitKey, count: int) -> None:
        """The limit freed ``count`` places: let as many of those it held stand in their queues again, best first.

        As many of each executor, for the one that has the best may be full; and those that need more places than were
        freed besides, for there may be more.
        """
        parked = self._parked.get(limit, {})
        for executor, entries in list(parked.items()):
            self._unpark(entries, count, by_slots=limit[0] == "pool")
            if not entries:
                del parked[executor]
        if not parked:
            self._parked.pop(limit, None)

    def unpark_everything(self, limit: LimitKey) -> None:
        """The limit is no more."""
        for entries in self._parked.pop(limit, {}).values():
            self._unpark(entries, len(entries))

    def unpark_all(self) -> None:
        """Let everything stand in its queue again: a limit may have been raised from outside. Forgets what is dead."""
        for limit in list(self._parked):
            self.unpark_everything(limit)
        for executor, entries in list(self._queues.items()):
            self._queues[executor] = [entry for entry in entries if entry.is_live]
            heapq.heapify(self._queues[executor])

    def choose(
        self, free: Mapping[str, int], total: int, blocked_by: Callable[[Instance], LimitKey | None]
    ) -> list[Entry]:
        """Take up to ``total`` entries, of each executor at most its ``free`` slots, highest priority first.

        ``blocked_by`` is asked once an entry and counts the ones it lets through; those it blocks are parked.
        """
        left = {name: slots for name, slots in free.items() if slots > 0 and self._queues.get(name)}
        heads = [(self._queues[name][0], name) for name in left]
        heapq.heapify(heads)
        chosen: list[Entry] = []
        while heads and len(chosen) < total:
            _, name = heapq.heappop(heads)
            entry = heapq.heappop(self._queues[name])
            if entry.is_live:
                limit = blocked_by(entry.instance)
                if limit is None:
                    chosen.append(entry)
                    left[name] -= 1
                else:
                    heapq.heappush(self._parked.setdefault(limit, {}).setdefault(name, []), entry)
            if left[name] > 0 and self._queues[name]:
                heapq.heappush(heads, (self._queues[name][0], name))
        return chosen

    def waiting(self) -> Iterable[Instance]:
        """Everything that waits, parked or not."""
        parked = (entries for by_executor in self._parked.values() for entries in by_executor.values())
        for entries in (*self._queues.values(), *parked):
            yield from (entry.instance for entry in entries if entry.is_live)

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def _unpark(self, entries: list[Entry], count: int, *, by_slots: bool = False) -> None:
        while entries and count > 0:
            entry = heapq.heappop(entries)
            if entry.is_live:
                self.put_back(entry)
                slots = entry.instance.node.spec.pool_slots if by_slots else 1
                count -= slots if slots <= count else 0
