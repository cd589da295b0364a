"""Who waits for the quota of which namespace. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

from executors.kubernetes.pacing import pause

K = TypeVar("K", bound=Hashable)

_PAUSES = 1.0, 5.0
"""Seconds, first and longest."""
_CALLS = 10.0
"""Per second at most, for all of a namespace together."""
_FOLLOWERS = 2


class QuotaWaiters(Generic[K]):
    """A few of them try now and then; where one gets through, others follow at once.

    So room is filled quickly, however many wait, and a quota that is full is asked seldom.
    """

    def __init__(self) -> None:
        self._waiters: defaultdict[str, dict[K, None]] = defaultdict(dict)

    def add(self, namespace: str, key: K, tries: int, draw: float) -> float:
        """Seconds for which it waits, having tried so often."""
        waiters = self._waiters[namespace]
        waiters[key] = None
        return max(pause(tries, draw, *_PAUSES), len(waiters) / _CALLS)

    def remove(self, namespace: str, key: K) -> None:
        """It waits no more. May be told of one that does not wait."""
        self._waiters[namespace].pop(key, None)

    def followers(self, namespace: str) -> list[K]:
        """A pod of the namespace got through: these try now, and others another time."""
        waiters = self._waiters[namespace]
        chosen = list(islice(waiters, _FOLLOWERS))
        for key in chosen:
            waiters[key] = waiters.pop(key)
        return chosen
