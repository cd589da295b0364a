"""When runs are due. Pure: the clock comes in as ``now``, moments are microseconds UTC.

A run covers an interval and starts when the interval has ended: its logical date is the interval's start, ``run_after``
its end. The starts are the *ticks* of the schedule, one fixed set of instants for each schedule and zone, so that the
next tick never depends on how one got here: strictly increasing, no gap between intervals, no tick twice, through every
change of the clocks. Where the wall clock of the zone

* **skips** a time (02:30 in spring), its tick is moved forward by the length of the gap (to 03:30); one that lands on
  another tick is that tick;
* **repeats** a time (01:30 in autumn), an hour field that starts with ``*`` ticks in both passes, because such a
  schedule means "every so often"; an hour that is named ticks once, in the second pass, as in Airflow.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from runtime.core.clock import SECOND, iso, micros, moment
from runtime.core.errors import HybridError
from runtime.core.zones import zone

if TYPE_CHECKING:
    from croniter import croniter

    from runtime.core.specs import TimetableSpec

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
EARLIEST = micros(datetime(1900, 1, 1, tzinfo=UTC))
LATEST = micros(datetime(2200, 1, 1, tzinfo=UTC))
MAX_SECONDS = 366 * 86_400 * 100.0
_NEAR = timedelta(hours=26)
"""A change of offset farther away than this cannot touch a tick: the longest gap ever (Samoa, 2011) is 24 hours."""
_RANDOM = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)


class TimetableError(HybridError):
    """A schedule, date or time zone that cannot be used."""


@dataclass(frozen=True, slots=True)
class DueRun:
    """The next run; due once ``run_after`` has passed."""

    logical_date: int
    data_interval_start: int
    data_interval_end: int
    run_after: int


def next_run(
    spec: TimetableSpec, *, after: int | None, start_date: int | None, end_date: int | None, catchup: bool, now: int
) -> DueRun | None:
    """The next run of a schedule, which may lie in the future; ``None`` where there is none any more.

    :param after: logical date of the newest scheduled run, ``None`` before the first.
    :param start_date: no logical date before it. Without it the first run covers the interval that ended last.
    :param end_date: no logical date after it.
    :param catchup: whether every interval since ``start_date`` gets a run; else only the one that ended last.
    """
    ticks = _ticks(spec, start_date)
    if ticks is None:
        return None
    start = EARLIEST if start_date is None else start_date
    if after is not None:
        start = max(start, after + 1)
    try:
        if not catchup or (start_date is None and after is None):
            start = max(start, ticks.at_or_before(ticks.at_or_before(now) - 1))
        logical = ticks.at_or_after(start)
        end = ticks.at_or_after(logical + 1)
    except OverflowError:
        return None
    if (end_date is not None and logical > end_date) or end >= LATEST:
        return None
    return DueRun(logical_date=logical, data_interval_start=logical, data_interval_end=end, run_after=end)


def interval_of(spec: TimetableSpec, now: int, start_date: int | None = None) -> tuple[int, int]:
    """Data interval of a run that somebody triggers at ``now``: the one that ended last; ``(now, now)`` without one."""
    ticks = _ticks(spec, start_date)
    if ticks is None:
        return now, now
    end = ticks.at_or_before(now)
    return ticks.at_or_before(end - 1), end


def validate(spec: TimetableSpec, start_date: int | None = None, end_date: int | None = None) -> None:
    """Raise :class:`TimetableError` or :class:`UnknownZoneError` unless the schedule and its dates can be used."""
    zone(spec.timezone)
    for name, value in (("start_date", start_date), ("end_date", end_date)):
        if value is not None:
            check_date(name, value)
    if start_date is not None and end_date is not None and start_date > end_date:
        raise TimetableError(f"start_date {iso(start_date)} is after end_date {iso(end_date)}")
    if spec.kind == "cron":
        check_cron(spec.expression)
    elif spec.kind == "interval":
        check_seconds(spec.seconds)
    elif spec.kind != "none":
        raise TimetableError(f"unknown kind of timetable {spec.kind!r}; use none, cron or interval")


def check_date(name: str, value: int) -> None:
    """Raise :class:`TimetableError` for a date outside 1900 … 2199."""
    if not EARLIEST <= value < LATEST:
        year = 1970 + math.floor(value / (365.2425 * 86_400 * SECOND))
        hint = "leave it out for no end" if name == "end_date" else "use a date near your data"
        raise TimetableError(f"{name} in the year {year} is outside the years 1900 to 2199; {hint}")


def check_seconds(seconds: float) -> None:
    """Raise :class:`TimetableError` unless an interval of that length can be a schedule."""
    if not (math.isfinite(seconds) and 1 <= seconds <= MAX_SECONDS):
        raise TimetableError(f"schedule of {seconds:g} seconds; use a timedelta of 1 second to 100 years")


def check_cron(expression: str) -> None:
    """Raise :class:`TimetableError` unless ``expression`` is a cron expression of five fields that ever fires."""
    fields = expression.split()
    if len(fields) != 5:
        raise TimetableError(
            f"cron {expression!r} has {len(fields)} fields; it needs five: minute hour day-of-month month day-of-week"
        )
    if _RANDOM.search(expression):
        raise TimetableError(f"cron {expression!r}: H and R stand for chosen-at-random times; write the times out")
    try:
        _cron(expression).get_next(datetime, start_time=datetime(2000, 1, 1))  # noqa: DTZ001  wall clock
    except ValueError as error:
        reason = "it never fires" if type(error).__name__ == "CroniterBadDateError" else str(error)
        raise TimetableError(f"bad cron {expression!r}: {reason}") from None


class _Ticks(Protocol):
    def at_or_after(self, instant: int) -> int:
        """The first tick that is not before ``instant``. Raises ``OverflowError`` where there is none."""

    def at_or_before(self, instant: int) -> int:
        """The last tick that is not after ``instant``. Raises ``OverflowError`` where there is none."""


def _ticks(spec: TimetableSpec, start_date: int | None) -> _Ticks | None:
    if spec.kind == "cron":
        return _CronTicks(spec.expression, zone(spec.timezone))
    if spec.kind == "interval":
        return _Grid(anchor=start_date or 0, step=round(spec.seconds * SECOND))
    return None


@dataclass(frozen=True, slots=True)
class _Grid:
    """Every ``step`` microseconds, counted from ``anchor`` in both directions."""

    anchor: int
    step: int

    def at_or_after(self, instant: int) -> int:
        return self.anchor - (self.anchor - instant) // self.step * self.step

    def at_or_before(self, instant: int) -> int:
        return self.anchor + (instant - self.anchor) // self.step * self.step


@lru_cache(maxsize=4096)
def _cron(expression: str) -> croniter:
    from croniter import croniter  # here, because it costs 15 ms and 3 MB that most processes never need

    return croniter(expression)


class _CronTicks:
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
        cron = copy.copy(_cron(self._expression))  # a copy: it remembers where it is
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
