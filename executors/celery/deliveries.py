"""Messages that were published and that nobody is known to have taken: which of them are to be published again.

Repeating is harmless, since a start is granted once; a flood of repetitions is not, so each attempt has a back-off of
its own, and one whose message still waits in its queue is left alone. Decides only; ``now`` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from executors.workload import TaskInstanceKey

LONGEST_PAUSE = 900.0


@dataclass(slots=True)
class Delivery:
    """One attempt's message."""

    key: TaskInstanceKey
    queue: str
    """The broker's name of it."""
    sends: int
    due: float
    """When to look for it."""


class Deliveries:
    """:param stuck_after: seconds until the first look; each repetition doubles them, up to ``LONGEST_PAUSE``."""

    def __init__(self, stuck_after: float) -> None:
        self._stuck_after = stuck_after
        self._waiting: dict[TaskInstanceKey, Delivery] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: object) -> bool:
        return key in self._waiting

    def sent(self, key: TaskInstanceKey, queue: str, now: float) -> None:
        """Its message was published, for the first time or again."""
        delivery = self._waiting.get(key)
        sends = delivery.sends + 1 if delivery else 1
        pause = min(self._stuck_after * 2.0 ** min(sends - 1, 20), max(LONGEST_PAUSE, self._stuck_after))
        self._waiting[key] = Delivery(key, queue, sends, now + pause)

    def seen(self, keys: Iterable[TaskInstanceKey], now: float) -> None:
        """Their messages wait in their queues: nothing is lost, workers are busy."""
        for key in keys:
            if key in self._waiting:
                self._waiting[key].due = now + self._stuck_after

    def taken(self, key: TaskInstanceKey) -> None:
        """A worker has it, or it is over: no message of it is needed any more. Any key may be named."""
        self._waiting.pop(key, None)

    def due(self, now: float) -> list[Delivery]:
        """Those to look for, oldest first."""
        return [delivery for delivery in self._waiting.values() if delivery.due <= now]

    def all(self) -> list[TaskInstanceKey]:
        """What a broker that has lost everything is to be told again, oldest first."""
        return list(self._waiting)

    def queues(self) -> dict[str, int]:
        """Queue → messages that nobody is known to have taken."""
        found: dict[str, int] = {}
        for delivery in self._waiting.values():
            found[delivery.queue] = found.get(delivery.queue, 0) + 1
        return found
