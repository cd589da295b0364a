"""The fixed set of instants of a schedule, asked in both directions. Pure; moments are microseconds UTC.

Where the wall clock of a cron expression's zone **skips** a time (02:30 in spring), its tick is moved forward by the
length of the gap (to 03:30); one that lands on another tick is that tick. Where it **repeats** a time (01:30 in
autumn), an hour field that starts with ``*`` ticks in both passes, because such a schedule means "every so often"; an
hour that is named ticks once, in the second pass, as in Airflow.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from runtime.core.clock import iso, micros, moment

if TYPE_CHECKING:
    from croniter import croniter

_NEAR = timedelta(hours=26)
"""A change of offset farther away than this cannot touch a tick: the longest gap ever (Samoa, 2011) is 24 hours."""
_RANGE_OF_ONE = re.compile(r"(?<![\w/#-])(\w+)-\1(?:/\d+)?(?![\w/#-])", re.IGNORECASE)


class Ticks(Protocol):
    def at_or_after(self, instant: int) -> int:
        """The first tick that is not before ``instant``. Raises ``OverflowError`` where there is none."""

    def at_or_before(self, instant: int) -> int:
        """The last tick that is not after ``instant``. Raises ``OverflowError`` where there is none."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every ``step`` microseconds, counted from ``anchor`` in both directions."""

    anchor: int
    step: int

    def at_or_after(self, instant: int) -> int:
        return self.anchor - (self.anchor - instant) // self.step * self.step

    def at_or_before(self, instant: int) -> int:
        return self.anchor + (instant - self.anchor) // self.step * self.step


@dataclass(frozen=True, slots=True)
class Union:
    """The ticks of several schedules together; one that several have is one."""

    parts: Sequence[Ticks]

    def at_or_after(self, instant: int) -> int:
        return min(part.at_or_after(instant) for part in self.parts)

    def at_or_before(self, instant: int) -> int:
        return max(part.at_or_before(instant) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Events:
    """Instants that were listed, ascending."""

    instants: Sequence[int]

    def at_or_after(self, instant: int) -> int:
        at = bisect_left(self.instants, instant)
        if at == len(self.instants):
            raise OverflowError(f"no event after {iso(instant)}")
        return self.instants[at]

    def at_or_before(self, instant: int) -> int:
        at = bisect_right(self.instants, instant)
        if at == 0:
            raise OverflowError(f"no event before {iso(instant)}")
        return self.instants[at - 1]


@lru_cache(maxsize=4096)
def cron_of(expression: str) -> croniter:
    """Raises ``ValueError`` where it is none."""
    from croniter import croniter  # here, because it costs 15 ms and 3 MB that most processes never need

    # croniter 7 takes a range from a value to itself for ``*``: 0 5-5 * * * would run every hour.
    return croniter(_RANGE_OF_ONE.sub(r"\1", expression))


class CronTicks:
    """The ticks of a cron expression on the wall clock of a zone."""

    def __init__(self, expression: str, tz: tzinfo) -> None:
        self._expression = expression
        self._tz = tz
        self._both_passes = expression.split()[1].startswith("*")

    def at_or_after(self, instant: int) -> int:
        reach = self._reach(instant)
        best: int | None = None
        for wall in self._walls(self._wall(instant) - reach, 1):
            if best is not None and wall > self._wall(best) + self._reach(best):
                break
            for tick in self._instants(wall):
                if tick >= instant and (best is None or tick < best):
                    best = tick
            if best is not None and not self._reach(best):
                break
        if best is None:
            raise OverflowError(f"no tick of {self._expression!r} after {iso(instant)}")
        return best

    def at_or_before(self, instant: int) -> int:
        reach = self._reach(instant)
        best: int | None = None
        for wall in self._walls(self._wall(instant) + reach, -1):
            if best is not None and wall < self._wall(best) - self._reach(best):
                break
            for tick in self._instants(wall):
                if tick <= instant and (best is None or tick > best):
                    best = tick
            if best is not None and not self._reach(best):
                break
        if best is None:
            raise OverflowError(f"no tick of {self._expression!r} before {iso(instant)}")
        return best

    def _wall(self, instant: int) -> datetime:
        """The naive local time of an instant."""
        return moment(instant).astimezone(self._tz).replace(tzinfo=None)

    def _reach(self, instant: int) -> timedelta:
        """How far the clocks change near ``instant``: nothing on almost every day."""
        at = moment(instant)
        offsets = [(at + near).astimezone(self._tz).utcoffset() or timedelta() for near in (-_NEAR, timedelta(), _NEAR)]
        return max(offsets) - min(offsets)

    def _walls(self, start: datetime, direction: int) -> Iterator[datetime]:
        """Naive times that the expression matches, from ``start`` (give or take a second) on."""
        cron = copy.copy(cron_of(self._expression))  # a copy: it remembers where it is
        try:
            if direction > 0:
                cron.set_current(start - timedelta(seconds=1))
                while True:
                    yield cron.get_next(datetime)
            cron.set_current(start + timedelta(seconds=1))
            while True:
                yield cron.get_prev(datetime)
        except ValueError:  # croniter gives up after 50 years without a match
            return

    def _instants(self, wall: datetime) -> tuple[int, ...]:
        first = micros(wall.replace(tzinfo=self._tz, fold=0))
        second = micros(wall.replace(tzinfo=self._tz, fold=1))
        if first == second:
            return (first,)
        if first > second:  # skipped: read with the offset before the gap, which lands as far after it
            return (first,)
        return (first, second) if self._both_passes else (second,)
