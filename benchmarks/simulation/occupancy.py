"""How many slots of an executor were in use, over virtual time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise


class Occupancy:
    """Steps in time: from each moment on, so many attempts held and so many slots to be used (0: none, it is sick)."""

    def __init__(self) -> None:
        self.times = array("q")
        self.held = array("q")
        self.slots = array("q")

    def note(self, at: int, held: int, slots: int) -> None:
        """Of one moment only the last note counts."""
        if self.times and self.times[-1] == at:
            self.held[-1], self.slots[-1] = held, slots
        elif not self.times or (self.held[-1], self.slots[-1]) != (held, slots):
            self.times.append(at)
            self.held.append(held)
            self.slots.append(slots)

    def integral(self, value: Callable[[int, int], int]) -> Integral:
        """Of ``value(held, slots)`` over time."""
        return Integral(self.times, [value(*pair) for pair in zip(self.held, self.slots, strict=True)])


class Integral:
    """Of a function that is constant between two of its ``times``; the last value holds for ever."""

    def __init__(self, times: array[int], values: list[int]) -> None:
        self._times = times
        self._values = values
        self._sums = [0]
        for value, (begin, end) in zip(values, pairwise(times), strict=False):
            self._sums.append(self._sums[-1] + value * (end - begin))

    def between(self, begin: int, end: int) -> int:
        """In units of value times microseconds."""
        return self._until(end) - self._until(begin)

    def _until(self, at: int) -> int:
        place = bisect_right(self._times, at) - 1
        if place < 0:
            return 0
        return self._sums[place] + self._values[place] * (at - self._times[place])
