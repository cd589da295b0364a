"""When runs are due. Pure: the clock comes in as ``now``, moments are microseconds UTC.

A schedule is one fixed set of instants, its *ticks* (:mod:`runtime.core.ticks`), so that the next tick never depends on
how one got here: strictly increasing, no gap between intervals, no tick twice, through every change of the clocks.

``cron`` and ``interval``: a run covers the interval between two ticks and starts when it has ended; its logical date
is the interval's start. ``cron trigger``, ``delta trigger`` and ``events``: a run starts at a tick, and its interval,
mostly empty, is what ends there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runtime.core.clock import SECOND, iso, micros
from runtime.core.errors import HybridError
from runtime.core.ticks import CronTicks, Events, Grid, Ticks, Union, cron_of
from runtime.core.zones import zone

if TYPE_CHECKING:
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
KINDS = ("none", "cron", "interval", "once", "continuous", "cron trigger", "delta trigger", "events", "custom")
_COVERING = ("cron", "interval")
_TRIGGERS = ("cron trigger", "delta trigger", "events")
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
    spec: TimetableSpec,
    *,
    after: int | None,
    start_date: int | None,
    end_date: int | None,
    catchup: bool,
    now: int,
    after_end: int | None = None,
    planned: int | None = None,
) -> DueRun | None:
    """The next run of a schedule, which may lie in the future; ``None`` where there is none any more.

    Those of ``custom`` timetables are planned elsewhere: for them it is ``None``.

    :param after: logical date of the newest scheduled run, ``None`` before the first.
    :param start_date: no logical date before it. Without it the first run covers the interval that ended last.
    :param end_date: no logical date after it.
    :param catchup: whether every interval since ``start_date`` gets a run; else only the one that ended last.
    :param after_end: end of that run's interval; needed by ``continuous``.
    :param planned: logical date that was the answer when somebody asked before: a trigger whose moment has come since
        is not one of the past.
    """
    asked = _Question(spec, after, start_date, end_date, catchup, now, after_end, planned)
    try:
        due = _NEXT[spec.kind](asked) if spec.kind in _NEXT else None
    except OverflowError:
        return None
    if due is None or (end_date is not None and due.logical_date > end_date) or due.run_after >= LATEST:
        return None
    return due


def runs_between(
    spec: TimetableSpec, first: int, last: int, *, now: int, start_date: int | None = None
) -> Iterator[DueRun]:
    """The runs of a schedule whose logical dates lie in ``first`` … ``last``, and that are due by ``now``; ascending.

    :param start_date: of the DAG: where the intervals of ``interval`` are counted from. It is no bound.
    """
    ticks = _ticks(spec, start_date)
    if ticks is None:
        return
    length = _length(spec)
    try:
        tick = ticks.at_or_after(first + length)
        while tick - length <= last:
            due = _covering(ticks, tick) if spec.kind in _COVERING else _triggered(tick, length)
            if due.run_after > now:
                return
            yield due
            tick = ticks.at_or_after(tick + 1)
    except OverflowError:
        return


def is_periodic(spec: TimetableSpec) -> bool:
    """Whether the schedule itself says which runs lie between two dates."""
    return spec.kind in (*_COVERING, *_TRIGGERS)


def interval_of(spec: TimetableSpec, now: int, start_date: int | None = None) -> tuple[int, int]:
    """Data interval of a run that somebody triggers at ``now``: the one that ended last; ``(now, now)`` without one."""
    ticks = _ticks(spec, start_date)
    if spec.kind == "events":
        return _event_at(spec, now)
    if spec.kind in _TRIGGERS:
        return now - _length(spec), now
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
    if spec.kind not in KINDS:
        raise TimetableError(f"unknown kind of timetable {spec.kind!r}; use one of {', '.join(KINDS)}")
    for expression in [spec.expression] if spec.kind == "cron" else spec.arguments.get("crons", ()):
        check_cron(expression)
    if spec.kind in ("interval", "delta trigger"):
        check_seconds(spec.seconds)
    for value in spec.arguments.get("dates", ()) if spec.kind == "events" else ():
        check_date("event", value)


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
        cron_of(expression).get_next(datetime, start_time=datetime(2000, 1, 1))  # noqa: DTZ001  wall clock
    except ValueError as error:
        reason = "it never fires" if type(error).__name__ == "CroniterBadDateError" else str(error)
        raise TimetableError(f"bad cron {expression!r}: {reason}") from None


@dataclass(frozen=True, slots=True)
class _Question:
    """The arguments of :func:`next_run`."""

    spec: TimetableSpec
    after: int | None
    start_date: int | None
    end_date: int | None
    catchup: bool
    now: int
    after_end: int | None
    planned: int | None


def _ticks(spec: TimetableSpec, start_date: int | None) -> Ticks | None:
    if spec.kind == "cron":
        return CronTicks(spec.expression, zone(spec.timezone))
    if spec.kind == "cron trigger":
        return Union([CronTicks(expression, zone(spec.timezone)) for expression in spec.arguments["crons"]])
    if spec.kind in ("interval", "delta trigger"):
        return Grid(anchor=start_date or 0, step=round(spec.seconds * SECOND))
    return Events(spec.arguments["dates"]) if spec.kind == "events" else None


def _length(spec: TimetableSpec) -> int:
    """Of the interval that ends at a trigger's tick."""
    return round(spec.arguments.get("interval", 0.0) * SECOND) if spec.kind in _TRIGGERS else 0


def _covering(ticks: Ticks, logical: int) -> DueRun:
    end = ticks.at_or_after(logical + 1)
    return DueRun(logical_date=logical, data_interval_start=logical, data_interval_end=end, run_after=end)


def _triggered(tick: int, length: int) -> DueRun:
    return DueRun(logical_date=tick - length, data_interval_start=tick - length, data_interval_end=tick, run_after=tick)


def _next_covering(asked: _Question) -> DueRun | None:
    ticks = _ticks(asked.spec, asked.start_date)
    assert ticks is not None
    start = EARLIEST if asked.start_date is None else asked.start_date
    if asked.after is not None:
        start = max(start, asked.after + 1)
    if not asked.catchup or (asked.start_date is None and asked.after is None):
        start = max(start, ticks.at_or_before(ticks.at_or_before(asked.now) - 1))
    return _covering(ticks, ticks.at_or_after(start))


def _next_trigger(asked: _Question) -> DueRun | None:
    """The first tick that may be; without catchup, the last one that has passed in its place."""
    ticks, length = _ticks(asked.spec, asked.start_date), _length(asked.spec)
    assert ticks is not None
    earliest = [] if asked.start_date is None else [asked.start_date]
    if asked.after is not None:
        earliest.append(asked.after + length + 1)
    elif asked.spec.kind == "events":
        earliest += [] if asked.catchup else [_promised(asked, length)]
    elif asked.start_date is None:
        earliest.append(_first_trigger(asked, ticks, length))
    first = ticks.at_or_after(max(earliest, default=EARLIEST))
    if not asked.catchup and first <= asked.now:
        first = max(first, ticks.at_or_before(asked.now))
    return None if asked.end_date is not None and first > asked.end_date else _triggered(first, length)


def _promised(asked: _Question, length: int) -> int:
    """No earlier than now, or than what was planned when it still lay ahead."""
    return asked.now if asked.planned is None else min(asked.now, asked.planned + length)


def _first_trigger(asked: _Question, ticks: Ticks, length: int) -> int:
    """Where neither a start date nor a run says: the last tick or the next one, as ``run_immediately`` has it."""
    if asked.planned is not None and asked.planned + length <= asked.now:
        return asked.planned + length
    past = ticks.at_or_before(asked.now)
    wanted = asked.spec.arguments.get("run_immediately", asked.spec.kind == "delta trigger")
    if wanted is True:
        return past
    if wanted is False:
        return asked.now
    following = ticks.at_or_after(asked.now + 1)
    patience = max((following - past) / 10, 300 * SECOND) if wanted is None else wanted * SECOND
    return past if asked.now - past <= patience else following


def _next_once(asked: _Question) -> DueRun | None:
    """At its start date, however long ago; without one as soon as possible."""
    if asked.after is not None:
        return None
    return _triggered(asked.now if asked.start_date is None else asked.start_date, 0)


def _next_continuous(asked: _Question) -> DueRun | None:
    """From the end of the run before until now. Its logical date is always later than the one before."""
    if asked.after is None:
        start = asked.now if asked.start_date is None else asked.start_date
    else:
        start = max(asked.after + 1, asked.after if asked.after_end is None else asked.after_end)
    end = max(start, asked.now)
    if asked.end_date is not None and end > asked.end_date:
        return None
    return DueRun(logical_date=start, data_interval_start=start, data_interval_end=end, run_after=end)


def _event_at(spec: TimetableSpec, now: int) -> tuple[int, int]:
    dates = spec.arguments["dates"]
    if not spec.arguments.get("restrict") or not dates:
        return now, now
    event = dates[0] if now < dates[0] else Events(dates).at_or_before(now)
    return event, event


_NEXT = {
    **dict.fromkeys(_COVERING, _next_covering),
    **dict.fromkeys(_TRIGGERS, _next_trigger),
    "once": _next_once,
    "continuous": _next_continuous,
}
