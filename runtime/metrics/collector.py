"""Where a process keeps its figures. Every call is a few dictionary operations: cheap enough for each attempt."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["g", "c", "ms"]
"""StatsD's word for a gauge, a counter, a timing."""
Forward: TypeAlias = Callable[[Kind, str, float], None]
Snapshot: TypeAlias = dict[str, Any]
"""``{"gauges": {name: value}, "counters": {name: count}, "timings": {name: {count, sum, max, buckets}}}``; seconds.
``buckets`` has how many fell into each of :data:`BUCKETS`, and behind the last how many took longer than all."""

BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
"""Upper bounds in seconds, each 4 or 5 times (then 6, 10 times) the one before: from a turn of the loop, which is under
a millisecond, to the longest time that an attempt may be queued."""
MOST_NAMES = 1_000
"""An executor that makes names out of task ids must not fill the memory, nor the database row."""
LONGEST_NAME = 250
LARGEST = 2.0**63
DROPPED = "metrics.dropped"


class ProcessFigures(NamedTuple):
    """What one process wrote last, and the labels that say which one it is."""

    labels: Mapping[str, str]
    snapshot: Snapshot


class _Timing:
    __slots__ = ("buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)


class Collector:
    """The :class:`executors.context.Stats` of a process. Thread-safe; never blocks, never raises.

    What is no number, has no name, or has one name too many is dropped and counted as ``metrics.dropped``.

    :param forward: told of each call as well; must not block or raise.
    """

    def __init__(self, forward: Forward | None = None, *, most_names: int = MOST_NAMES) -> None:
        self._forward = forward
        self._most_names = most_names
        self._lock = threading.Lock()
        self._gauges: dict[str, float] = {}
        self._counters: dict[str, int] = {}
        self._timings: dict[str, _Timing] = {}

    def gauge(self, name: str, value: float) -> None:
        """It is ``value`` now."""
        if not _fits(name, value):
            self._drop()
            return
        with self._lock:
            if name not in self._gauges and not self._has_room(name):
                return
            self._gauges[name] = value
        if self._forward is not None:
            self._forward("g", name, value)

    def incr(self, name: str, count: int = 1) -> None:
        """It happened ``count`` times more."""
        if not _fits(name, count) or count < 0:
            self._drop()
            return
        with self._lock:
            before = self._counters.get(name)
            if before is None:
                if not self._has_room(name):
                    return
                before = 0
            self._counters[name] = before + count
        if self._forward is not None:
            self._forward("c", name, count)

    def timing(self, name: str, seconds: float) -> None:
        """It took ``seconds``; less than none, which two hosts' clocks can make of it, is none."""
        if not _fits(name, seconds):
            self._drop()
            return
        seconds = max(seconds, 0.0)
        with self._lock:
            timing = self._timings.get(name)
            if timing is None:
                if not self._has_room(name):
                    return
                timing = self._timings[name] = _Timing()
            timing.count += 1
            timing.total += seconds
            timing.longest = max(timing.longest, seconds)
            timing.buckets[bisect_left(BUCKETS, seconds)] += 1
        if self._forward is not None:
            self._forward("ms", name, seconds * 1000)

    def snapshot(self) -> Snapshot:
        """What there is now, ready for JSON; a copy."""
        with self._lock:
            return {
                "gauges": dict(self._gauges),
                "counters": dict(self._counters),
                "timings": {name: _shown(timing) for name, timing in self._timings.items()},
            }

    def to_json(self) -> str:
        """The snapshot as a process writes it beside its heartbeat."""
        return json.dumps(self.snapshot(), separators=(",", ":"))

    def _has_room(self, name: str) -> bool:
        """Whether a new name may come; the caller holds the lock."""
        known = len(self._gauges) + len(self._counters) + len(self._timings)
        if known < self._most_names and 0 < len(name) <= LONGEST_NAME:
            return True
        self._counters[DROPPED] = self._counters.get(DROPPED, 0) + 1
        return False

    def _drop(self) -> None:
        with self._lock:
            self._counters[DROPPED] = self._counters.get(DROPPED, 0) + 1


def _fits(name: Any, value: Any) -> bool:
    """Whether it can be a figure: NaN and infinities compare as no number does."""
    return isinstance(name, str) and isinstance(value, int | float) and -LARGEST < value < LARGEST


def _shown(timing: _Timing) -> dict[str, Any]:
    return {
        "count": timing.count,
        "sum": round(timing.total, 6),
        "max": round(timing.longest, 6),
        "buckets": list(timing.buckets),
    }
