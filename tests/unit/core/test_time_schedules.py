"""Schedules against a second cron library, cronsim, and against a clock that jumps: properties, not examples.

cronsim is asked on the bare wall clock only; what our rules make of a wall clock that skips or repeats an hour is said
here once more, in other words than the program's.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime.core.clock import SECOND, micros, moment
from runtime.core.specs import TimetableSpec
from runtime.core.timetables import DueRun, next_run, runs_between

HOUR = 3600 * SECOND
CHANGES = [
    ("America/New_York", datetime(2026, 3, 8)),
    ("America/New_York", datetime(2026, 11, 1)),
    ("Europe/Berlin", datetime(2026, 3, 29)),
    ("Europe/Berlin", datetime(2026, 10, 25)),
    ("Australia/Lord_Howe", datetime(2026, 4, 5)),  # half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 4)),
    ("America/Santiago", datetime(2026, 9, 6)),  # midnight does not exist
    ("America/Havana", datetime(2026, 11, 1)),  # midnight exists twice
    ("Africa/Casablanca", datetime(2026, 2, 15)),
    ("Pacific/Chatham", datetime(2026, 4, 5)),  # at 03:45
    ("Pacific/Apia", datetime(2011, 12, 30)),  # a day that does not exist
    ("Asia/Kolkata", datetime(2026, 6, 1)),  # none
]
"""A zone, and the day on which its clocks change."""
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """``*``, a number, a list, a range, and steps of them."""
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted)
    step = st.integers(2, high - low)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=2, max_size=4, unique=True).map(lambda found: ",".join(map(str, sorted(found)))),
        span.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        step.map(lambda every: f"*/{every}"),
        st.tuples(span.filter(lambda ends: ends[0] < ends[1]), step).map(lambda o: f"{o[0][0]}-{o[0][1]}/{o[1]}"),
    )


PLAIN_DAYS = st.one_of(field(1, 31).filter(lambda text: not text.startswith("*/")), st.just("L"))
"""``*/2`` beside a weekday means *and* to one library and *or* to the other, as with crons."""
WEEKDAYS = st.one_of(
    st.just("*"),
    st.sampled_from(DAYS),
    st.integers(0, 7).map(str),
    st.just("MON-FRI"),
    st.lists(st.sampled_from(DAYS), min_size=2, max_size=3, unique=True).map(",".join),
)
ODD_WEEKDAYS = st.one_of(
    st.tuples(st.integers(0, 6), st.integers(1, 5)).map(lambda found: f"{found[0]}#{found[1]}"),
    st.integers(0, 6).map(lambda day: f"L{day}"),
)
"""The n-th of the month, and the last."""
MONTH = st.one_of(field(1, 12), st.sampled_from(MONTHS))


@st.composite
def crons(draw: st.DrawFn) -> str:
    """Expressions of all kinds that croniter and cronsim both know, in croniter's spelling."""
    month = draw(MONTH)
    if draw(st.integers(0, 3)) == 0:
        day, weekday = "*", draw(ODD_WEEKDAYS)
    else:
        day, weekday = draw(PLAIN_DAYS), draw(WEEKDAYS)
    return f"{draw(field(0, 59))} {draw(field(0, 23))} {day} {month} {weekday}"


def walls(expression: str, start: datetime, until: datetime) -> list[datetime]:
    """What cronsim says on the bare wall clock, from ``start`` on; no more than needed."""
    *others, weekday = expression.split()
    spelled = f"{weekday[1]}L" if weekday.startswith("L") else weekday
    try:
        found = CronSim(" ".join([*others, spelled]), start - timedelta(seconds=1))
        return list(itertools.takewhile(lambda wall: wall <= until, itertools.islice(found, 400)))
    except (CronSimError, ValueError, StopIteration, OverflowError):
        return []


def instants(expression: str, zone: ZoneInfo, start: int, days: int) -> list[int]:
    """All ticks from ``start`` on, by the rules as people are told them, as far as 400 wall times reach."""
    near = moment(start).astimezone(zone).replace(tzinfo=None)
    every_hour = expression.split()[1].startswith("*")
    found: set[int] = set()
    for wall in walls(expression, near - timedelta(days=2), near + timedelta(days=days)):
        readings = [micros(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)]
        real = sorted({at for at in readings if moment(at).astimezone(zone).replace(tzinfo=None) == wall})
        if not real:  # as far after the gap as it would have been after its beginning
            found.add(readings[0])
        elif len(real) == 2 and not every_hour:
            found.add(real[1])
        else:
            found.update(real)
    return sorted(at for at in found if at >= start)


def series(spec: TimetableSpec, start: int, count: int) -> list[DueRun]:
    """The first runs of a catchup."""
    runs: list[DueRun] = []
    while len(runs) < count:
        after = runs[-1].logical_date if runs else None
        due = next_run(spec, after=after, start_date=start, end_date=None, catchup=True, now=0)
        if due is None:
            break
        runs.append(due)
    return runs


def cron(expression: str, zone: str = "UTC") -> TimetableSpec:
    return TimetableSpec(kind="cron", expression=expression, timezone=zone)


def check_against_cronsim(expression: str, zone: str, start: int, days: int, count: int) -> int:
    """How many runs there were to compare."""
    wanted = instants(expression, ZoneInfo(zone), start, days)[:count]
    runs = series(cron(expression, zone), start, len(wanted))
    assert [run.logical_date for run in runs] == wanted
    for one, other in itertools.pairwise(runs):
        assert one.data_interval_end == other.data_interval_start, "intervals tile"
    assert all(run.data_interval_start < run.data_interval_end == run.run_after for run in runs)
    return len(runs)


STARTS = st.datetimes(datetime(1985, 1, 1), datetime(2105, 1, 1)).map(lambda at: micros(at.replace(tzinfo=UTC)))


def agrees_in_utc(expression: str, start: int) -> None:
    assume(check_against_cronsim(expression, "UTC", start, days=366 * 30, count=12))


def agrees_through_changes(expression: str, change: tuple[str, datetime], before: int) -> None:
    zone, day = change
    start = micros(day.replace(tzinfo=ZoneInfo(zone))) - before * 60 * SECOND
    check_against_cronsim(expression, zone, start, days=8, count=16)


class TestAgainstCronsim:
    @settings(max_examples=100, deadline=None)
    @given(crons(), STARTS)
    def test_expressions_mean_the_same(self, expression, start):
        agrees_in_utc(expression, start)

    @settings(max_examples=100, deadline=None)
    @given(crons(), st.sampled_from(CHANGES), st.integers(0, 2_000))
    def test_through_every_change_of_the_clocks(self, expression, change, before):
        agrees_through_changes(expression, change, before)

    @settings(max_examples=60, deadline=None)
    @given(field(0, 59), field(0, 3), st.sampled_from(CHANGES), st.integers(0, 300))
    def test_through_them_in_the_very_hours_that_change(self, minute, hour, change, before):
        agrees_through_changes(f"{minute} {hour} * * *", change, before)

    @pytest.mark.parametrize(
        "expression",
        [
            "0 12 29 2 *",  # leap days, of which 2100 has none
            "0 0 L * *",  # ends of months
            "59 23 31 12 *",  # the end of the year
            "0 0 31 * *",
            "30 6 1 1 MON",  # the first of January, and every Monday of it
            "0 0 * * 5#5",  # a fifth Friday
            "0 0 * * L5",  # the last Friday
            "0 0 * 2 L0",
            "*/7 */5 1-7 */3 MON-FRI",
            "15 5-5 * 3-3 *",  # of which croniter alone makes every hour of every day
            "15 5 1-1 * *",
        ],
    )
    def test_the_odd_days_of_a_hundred_years(self, expression):
        start = micros(datetime(2020, 2, 29, 12, tzinfo=UTC))
        assert check_against_cronsim(expression, "UTC", start, days=366 * 100, count=60) >= 20

    @pytest.mark.slow
    @settings(max_examples=5_000, deadline=None)
    @given(crons(), STARTS)
    def test_expressions_mean_the_same_at_length(self, expression, start):
        agrees_in_utc(expression, start)

    @pytest.mark.slow
    @settings(max_examples=10_000, deadline=None)
    @given(crons(), st.sampled_from(CHANGES), st.integers(0, 2_000))
    def test_through_every_change_of_the_clocks_at_length(self, expression, change, before):
        agrees_through_changes(expression, change, before)


STEPS = st.lists(st.integers(-7_200, 20_000), min_size=1, max_size=40)
"""Seconds that a clock moves; it may go back."""
SCHEDULES = st.one_of(
    st.sampled_from(["0 * * * *", "*/20 * * * *", "30 1 * * *", "30 2 * * *", "0 0 * * *"]).flatmap(
        lambda text: st.sampled_from([zone for zone, _ in CHANGES]).map(lambda zone: cron(text, zone))
    ),
    st.integers(600, 90_000).map(lambda seconds: TimetableSpec(kind="interval", seconds=float(seconds))),
)


def scheduled(spec: TimetableSpec, start: int, clock: list[int], *, catchup: bool) -> list[DueRun]:
    """What a scheduler makes that looks when its clock shows these times: it knows its last run and the time."""
    made: list[DueRun] = []
    for now in clock:
        while True:
            after = made[-1].logical_date if made else None
            due = next_run(spec, after=after, start_date=start, end_date=None, catchup=catchup, now=now)
            if due is None or due.run_after > now:
                break
            made.append(due)
    return made


class TestClockThatJumps:
    @settings(max_examples=60, deadline=None)
    @given(SCHEDULES, STEPS, st.sampled_from(CHANGES))
    def test_catchup_makes_each_run_once_and_misses_none(self, spec, steps, change):
        start = micros(change[1].replace(tzinfo=UTC)) - 12 * HOUR
        clock = [start + seconds * SECOND for seconds in itertools.accumulate(steps)]
        made = scheduled(spec, start, clock, catchup=True)
        assert made == scheduled(spec, start, [max(clock)], catchup=True), "as if the clock had gone straight on"
        for one, other in itertools.pairwise(made):
            assert one.data_interval_end == other.data_interval_start

    @settings(max_examples=60, deadline=None)
    @given(SCHEDULES, STEPS, st.sampled_from(CHANGES))
    def test_without_catchup_none_is_made_twice_and_the_newest_is_made(self, spec, steps, change):
        start = micros(change[1].replace(tzinfo=UTC)) - 12 * HOUR
        clock = [start + seconds * SECOND for seconds in itertools.accumulate(steps)]
        made = scheduled(spec, start, clock, catchup=False)
        dates = [run.logical_date for run in made]
        assert dates == sorted(set(dates))
        every = scheduled(spec, start, [max(clock)], catchup=True)
        assert dates[-1:] == [run.logical_date for run in every[-1:]]
        assert set(made) <= set(every)

    @settings(max_examples=40, deadline=None)
    @given(SCHEDULES, st.sampled_from(CHANGES), st.integers(1, 60), st.integers(0, 60))
    def test_a_backfill_has_the_same_runs_as_a_catchup(self, spec, change, hours, skipped):
        start = micros(change[1].replace(tzinfo=UTC)) - 12 * HOUR
        first, last = start + skipped * HOUR, start + (skipped + hours) * HOUR
        now = last + 60 * HOUR
        every = scheduled(spec, start, [now], catchup=True)
        wanted = [run for run in every if first <= run.logical_date <= last]
        assert list(runs_between(spec, first, last, now=now, start_date=start)) == wanted
