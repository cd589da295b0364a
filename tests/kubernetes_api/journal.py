"""What was asked of the API server."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 200_000


@dataclass(slots=True)
class Recorded:
    """One request. ``time`` is in seconds of :func:`time.monotonic`; ``status`` 0: no answer (yet), or a stream."""

    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection"""
    resource: str
    """E.g. ``pods`` or ``pods/log``."""
    namespace: str
    """Empty: all, or none."""
    name: str
    path: str
    time: float
    status: int = 0
    query: dict[str, str] | None = None


class Journal:
    """The last 200,000 requests, and how many there were of each verb and resource."""

    def __init__(self) -> None:
        self.requests: deque[Recorded] = deque(maxlen=_KEPT)
        self.counters: Counter[str] = Counter()

    def add(self, verb: str, resource: str, namespace: str, name: str, path: str, query: dict[str, str]) -> Recorded:
        made = Recorded(verb, resource, namespace, name, path, time.monotonic(), query=query)
        self.requests.append(made)
        self.counters[f"{verb} {resource}"] += 1
        return made

    def found(self, verb: str | None, resource: str | None) -> list[dict[str, Any]]:
        """Those of a verb and a resource, as plain data."""
        return [asdict(one) for one in self.requests if verb in (None, one.verb) and resource in (None, one.resource)]

    def clear(self) -> None:
        self.requests.clear()
        self.counters.clear()
