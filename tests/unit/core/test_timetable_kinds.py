"""Schedules other than intervals: once, continuous, triggers, events; and the dates of a backfill."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.core.clock import SECOND, micros, moment
from runtime.core.specs import TimetableSpec
from runtime.core.timetables import DueRun, interval_of, is_periodic, next_run, runs_between

HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOON = micros(moment(0).replace(year=2026, month=3, day=10, hour=12))
ONCE, CONTINUOUS = TimetableSpec(kind="once"), TimetableSpec(kind="continuous")
DAILY = TimetableSpec(kind="cron", expression="0 0 * * *")


def trigger(*crons: str, interval: float = 0.0, soon: Any = False, zone: str = "UTC") -> TimetableSpec:
    arguments = {"crons": list(crons), "interval": interval, "run_immediately": soon}
    return TimetableSpec(kind="cron trigger", arguments=arguments, timezone=zone)


def events(*dates: int, restrict: bool = False) -> TimetableSpec:
    return TimetableSpec(kind="events", arguments={"dates": list(dates), "restrict": restrict})


def ask(spec: TimetableSpec, **options: Any) -> DueRun | None:
    known = {"after": None, "start_date": None, "end_date": None, "catchup": False, "now": NOON}
    return next_run(spec, **(known | options))


def after(spec: TimetableSpec, **options: Any) -> int:
    found = ask(spec, **options)
    assert found is not None
    return found.run_after


def test_once_is_at_the_start_date_however_old_and_never_again() -> None:
    assert after(ONCE) == NOON
    assert after(ONCE, start_date=NOON - 400 * DAY) == NOON - 400 * DAY
    assert ask(ONCE, after=NOON - DAY) is None
    assert ask(ONCE, start_date=NOON, end_date=NOON - 1) is None


def test_continuous_goes_on_where_the_run_before_ended() -> None:
    first = ask(CONTINUOUS, start_date=NOON - DAY)
    assert first == DueRun(NOON - DAY, NOON - DAY, NOON, NOON)
    then = ask(CONTINUOUS, start_date=NOON - DAY, after=NOON - DAY, after_end=NOON, now=NOON + HOUR)
    assert then == DueRun(NOON, NOON, NOON + HOUR, NOON + HOUR)
    assert ask(CONTINUOUS, end_date=NOON - 1) is None


def test_continuous_never_gives_one_logical_date_twice() -> None:
    first = ask(CONTINUOUS)
    assert first is not None
    then = ask(CONTINUOUS, after=first.logical_date, after_end=first.data_interval_end)
    assert then is not None
    assert then.logical_date > first.logical_date


def test_a_trigger_starts_at_its_tick_and_covers_what_ends_there() -> None:
    due = ask(trigger("0 6 * * *", interval=7200.0), start_date=NOON, catchup=True)
    six = NOON + 18 * HOUR
    assert due == DueRun(six - 2 * HOUR, six - 2 * HOUR, six, six)


def test_with_catchup_each_tick_gets_a_run_and_without_it_the_last() -> None:
    daily = trigger("0 0 * * *")
    start = NOON - 10 * DAY
    midnight = NOON - 12 * HOUR
    assert after(daily, start_date=start, catchup=True) == midnight - 9 * DAY
    assert after(daily, start_date=start, catchup=True, after=midnight - 9 * DAY) == midnight - 8 * DAY
    assert after(daily, start_date=start) == midnight
    assert after(daily, start_date=start, after=midnight - 9 * DAY) == midnight
    assert after(daily, start_date=start, after=midnight) == midnight + DAY


@pytest.mark.parametrize(("soon", "expected"), [(True, 0), (False, 1), (None, 1), (11 * 3600.0, 1), (12 * 3600.0, 0)])
def test_run_immediately_says_what_the_first_run_is(soon: Any, expected: int) -> None:
    midnight = NOON - 12 * HOUR
    assert after(trigger("0 0 * * *", soon=soon)) == midnight + expected * DAY


def test_a_first_tick_that_was_planned_is_not_of_the_past_when_it_has_come() -> None:
    """The scheduler asks again, a moment after it: what lay ahead then is due now."""
    daily = trigger("0 0 * * *")
    planned = after(daily)
    assert after(daily, now=planned + SECOND) == planned + DAY, "nobody had planned it"
    assert after(daily, now=planned + SECOND, planned=planned) == planned


def test_several_crons_make_one_run_where_both_tick() -> None:
    both = trigger("0 6 * * *", "0 6,18 * * *")
    ticks = []
    at = None
    for _ in range(4):
        due = ask(both, start_date=NOON, catchup=True, after=at)
        assert due is not None
        ticks.append((due.run_after - NOON) // HOUR)
        at = due.logical_date
    assert ticks == [6, 18, 30, 42]


def test_a_trigger_follows_the_clocks_of_its_zone() -> None:
    """Berlin goes to summer time on 29 March 2026."""
    daily = trigger("0 6 * * *", zone="Europe/Berlin")
    start = micros(moment(NOON).replace(day=28, hour=0))
    first = after(daily, start_date=start, catchup=True)
    second = after(daily, start_date=start, catchup=True, after=first)
    assert second - first == 23 * HOUR


def test_a_delta_trigger_counts_from_the_start_date() -> None:
    spec = TimetableSpec(kind="delta trigger", seconds=5400.0, arguments={"interval": 60.0})
    assert after(spec, start_date=NOON, catchup=True) == NOON + 0
    assert after(spec, start_date=NOON, catchup=True, after=NOON - 60 * SECOND) == NOON + 5400 * SECOND


def test_events_come_in_order_and_those_of_the_past_need_catchup() -> None:
    spec = events(NOON - DAY, NOON + HOUR, NOON + DAY)
    assert after(spec, catchup=True) == NOON - DAY
    assert after(spec) == NOON + HOUR
    assert after(spec, now=NOON + HOUR + SECOND, planned=NOON + HOUR) == NOON + HOUR
    assert after(spec, after=NOON + HOUR) == NOON + DAY
    assert ask(spec, after=NOON + DAY) is None
    assert ask(spec, after=NOON + HOUR, end_date=NOON + HOUR) is None


def test_a_run_by_hand_covers_what_the_schedule_says() -> None:
    assert interval_of(trigger("0 0 * * *", interval=60.0), NOON) == (NOON - 60 * SECOND, NOON)
    assert interval_of(events(NOON - DAY, NOON + DAY), NOON) == (NOON, NOON)
    assert interval_of(events(NOON - DAY, NOON + DAY, restrict=True), NOON) == (NOON - DAY, NOON - DAY)
    assert interval_of(events(NOON + DAY, restrict=True), NOON) == (NOON + DAY, NOON + DAY)
    assert interval_of(ONCE, NOON) == interval_of(CONTINUOUS, NOON) == (NOON, NOON)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (DAILY, 5),
        (trigger("0 0 * * *"), 5),
        (TimetableSpec(kind="interval", seconds=86_400.0), 5),
        (events(NOON - 5 * DAY, NOON - 2 * DAY, NOON + DAY), 2),
        (ONCE, 0),
        (TimetableSpec(), 0),
        (TimetableSpec(kind="custom", name="x"), 0),
    ],
)
def test_the_dates_of_a_backfill_are_those_that_the_schedule_would_have_made(spec: TimetableSpec, count: int) -> None:
    """Bounds included, what is not over yet left out; the DAG's start date is where intervals count from, no bound."""
    midnight = NOON - 12 * HOUR
    found = list(runs_between(spec, midnight - 5 * DAY, midnight - DAY, now=NOON, start_date=midnight))
    assert len(found) == count
    assert is_periodic(spec) == (count > 0)
    dates = [run.logical_date for run in found]
    assert dates == sorted(set(dates))
    late = list(runs_between(spec, midnight - DAY, midnight + 10 * DAY, now=NOON, start_date=midnight))
    assert all(run.run_after <= NOON for run in late)
