"""Schedules: the ends of intervals, catchup, and wall clocks that jump."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.clock import SECOND, micros, moment
from runtime.core.specs import TimetableSpec
from runtime.core.timetables import DueRun, TimetableError, interval_of, next_run, validate
from runtime.core.zones import UnknownZoneError, zone, zone_name

HOUR = 3600 * SECOND
DAY = 24 * HOUR
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "+05:30",
]
EXPRESSIONS = [
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "15,45 * * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "0 */2 * * *",
    "*/20 2 * * *",
    "10 1,2,3 * * *",
    "0 0 * * 0",
    "0 0 1 * *",
    "0 12 29 2 *",
]


def cron(expression: str, timezone: str = "UTC") -> TimetableSpec:
    return TimetableSpec(kind="cron", expression=expression, timezone=timezone)


def every(seconds: float) -> TimetableSpec:
    return TimetableSpec(kind="interval", seconds=seconds)


def utc(*parts: int) -> int:
    return micros(datetime(*parts, tzinfo=UTC))


def due(spec, after=None, start=None, end=None, catchup=True, now=0) -> DueRun | None:
    return next_run(spec, after=after, start_date=start, end_date=end, catchup=catchup, now=now)


def series(spec: TimetableSpec, start: int, count: int) -> list[DueRun]:
    """The first ``count`` runs of a catchup."""
    runs: list[DueRun] = []
    for _ in range(count):
        run = due(spec, after=runs[-1].logical_date if runs else None, start=start)
        assert run is not None
        runs.append(run)
    return runs


def local(spec: TimetableSpec, start: datetime, count: int) -> list[str]:
    """Logical dates as the zone's wall clock shows them."""
    tz = zone(spec.timezone)
    runs = series(spec, micros(start.replace(tzinfo=tz)), count)
    return [moment(run.logical_date).astimezone(tz).strftime("%d %H:%M%z") for run in runs]


class TestIntervals:
    def test_a_run_covers_an_interval_and_is_due_at_its_end(self):
        run = due(cron("0 0 * * *"), start=utc(2024, 5, 1))
        assert run == DueRun(utc(2024, 5, 1), utc(2024, 5, 1), utc(2024, 5, 2), utc(2024, 5, 2))

    def test_a_start_between_two_ticks_begins_with_the_next_one(self):
        run = due(cron("0 0 * * *"), start=utc(2024, 5, 1, 7))
        assert run.logical_date == utc(2024, 5, 2)

    def test_a_timedelta_counts_from_the_start_date(self):
        runs = series(every(5400), utc(2024, 5, 1, 0, 10), 3)
        assert [run.logical_date for run in runs] == [utc(2024, 5, 1, 0, 10) + n * 5400 * SECOND for n in range(3)]

    def test_the_interval_begins_when_the_one_before_ends(self):
        runs = series(cron("0 6 * * 1-5"), utc(2024, 5, 1), 10)
        assert all(a.data_interval_end == b.data_interval_start for a, b in itertools.pairwise(runs))

    def test_no_schedule_no_run(self):
        assert due(TimetableSpec(), start=utc(2024, 1, 1), now=utc(2025, 1, 1)) is None

    def test_the_last_logical_date_may_be_the_end_date_itself(self):
        kept = due(cron("0 0 * * *"), after=utc(2024, 5, 1), start=utc(2024, 5, 1), end=utc(2024, 5, 2))
        over = due(cron("0 0 * * *"), after=utc(2024, 5, 2), start=utc(2024, 5, 1), end=utc(2024, 5, 2))
        assert kept.logical_date == utc(2024, 5, 2)
        assert over is None

    def test_a_manual_run_covers_the_interval_that_ended_last(self):
        assert interval_of(cron("0 0 * * *"), utc(2024, 5, 3, 12)) == (utc(2024, 5, 2), utc(2024, 5, 3))
        assert interval_of(TimetableSpec(), utc(2024, 5, 3)) == (utc(2024, 5, 3), utc(2024, 5, 3))


class TestWithoutCatchup:
    def test_only_the_interval_that_ended_last_is_run(self):
        run = due(cron("0 0 * * *"), start=utc(2020, 1, 1), catchup=False, now=utc(2024, 5, 3, 12))
        assert run.logical_date == utc(2024, 5, 2)

    def test_an_interval_that_ends_just_now_counts_as_ended(self):
        run = due(cron("0 0 * * *"), start=utc(2020, 1, 1), catchup=False, now=utc(2024, 5, 3))
        assert run.run_after == utc(2024, 5, 3)

    def test_missed_intervals_are_left_out_and_the_next_one_is_in_the_future(self):
        run = due(
            cron("0 0 * * *"), after=utc(2024, 5, 2), start=utc(2020, 1, 1), catchup=False, now=utc(2024, 5, 3, 12)
        )
        assert run.logical_date == utc(2024, 5, 3)
        later = due(cron("0 0 * * *"), after=utc(2024, 5, 2), catchup=False, now=utc(2024, 5, 20, 12))
        assert later.logical_date == utc(2024, 5, 19)

    def test_a_start_date_in_the_future_is_waited_for(self):
        run = due(every(3600), start=utc(2030, 1, 1), catchup=False, now=utc(2024, 1, 1))
        assert run.logical_date == utc(2030, 1, 1)

    def test_the_grid_of_a_timedelta_stays_where_it_was(self):
        run = due(every(3600), start=utc(2024, 1, 1, 0, 10), catchup=False, now=utc(2024, 1, 5, 7, 30))
        assert run.logical_date == utc(2024, 1, 5, 6, 10)

    def test_catchup_without_a_start_date_begins_with_the_interval_that_ended_last(self):
        first = due(cron("0 0 * * *"), now=utc(2024, 5, 3, 12))
        second = due(cron("0 0 * * *"), after=first.logical_date, now=utc(2024, 5, 9, 12))
        assert (first.logical_date, second.logical_date) == (utc(2024, 5, 2), utc(2024, 5, 3))


class TestWallClocks:
    def test_a_skipped_time_moves_forward_by_the_gap(self):
        found = local(cron("30 2 * * *", "America/New_York"), datetime(2024, 3, 9), 3)
        assert found == ["09 02:30-0500", "10 03:30-0400", "11 02:30-0400"]

    def test_skipped_ticks_that_land_on_others_are_those(self):
        found = local(cron("*/30 * * * *", "America/New_York"), datetime(2024, 3, 10, 1), 5)
        assert found == ["10 01:00-0500", "10 01:30-0500", "10 03:00-0400", "10 03:30-0400", "10 04:00-0400"]

    def test_a_repeated_time_of_a_named_hour_ticks_once_in_the_second_pass(self):
        found = local(cron("30 1 * * *", "America/New_York"), datetime(2024, 11, 2), 3)
        assert found == ["02 01:30-0400", "03 01:30-0500", "04 01:30-0500"]

    def test_every_so_often_ticks_in_both_passes(self):
        found = local(cron("*/30 * * * *", "America/New_York"), datetime(2024, 11, 3, 0, 30), 6)
        passes = ["03 01:00-0400", "03 01:30-0400", "03 01:00-0500", "03 01:30-0500"]
        assert found == ["03 00:30-0400", *passes, "03 02:00-0500"]

    def test_a_day_of_23_and_one_of_25_hours(self):
        spring = series(cron("0 0 * * *", "Europe/Berlin"), utc(2024, 3, 30, 23), 1)[0]
        autumn = series(cron("0 0 * * *", "Europe/Berlin"), utc(2024, 10, 26, 22), 1)[0]
        assert spring.data_interval_end - spring.data_interval_start == 23 * HOUR
        assert autumn.data_interval_end - autumn.data_interval_start == 25 * HOUR

    def test_a_day_that_never_was_is_no_second_run(self):
        """Samoa crossed the date line: 30 December 2011 does not exist there."""
        found = local(cron("0 0 * * *", "Pacific/Apia"), datetime(2011, 12, 28), 4)
        assert found == ["28 00:00-1000", "29 00:00-1000", "31 00:00+1400", "01 00:00+1400"]

    def test_a_clock_change_of_half_an_hour(self):
        found = local(cron("15 2 * * *", "Australia/Lord_Howe"), datetime(2024, 10, 5), 3)
        assert found == ["05 02:15+1030", "06 02:45+1100", "07 02:15+1100"]


moments = st.integers(utc(2000, 1, 1) // SECOND, utc(2037, 1, 1) // SECOND).map(lambda second: second * SECOND)
near_changes = st.sampled_from(
    [utc(2024, 3, 10, 7), utc(2024, 11, 3, 6), utc(2024, 3, 31, 1), utc(2024, 10, 27, 1), utc(2011, 12, 30, 10)]
).flatmap(lambda at: st.integers(-50 * 3600, 50 * 3600).map(lambda seconds: at + seconds * SECOND))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), moments | near_changes)
def test_ticks_do_not_depend_on_how_one_gets_there(expression, timezone, start):
    """Strictly increasing, contiguous, and the same set whether reached step by step or by a jump."""
    spec = cron(expression, timezone)
    runs = series(spec, start, 12)
    ticks = [run.logical_date for run in runs]
    assert ticks[0] >= start
    assert ticks == sorted(set(ticks))
    for before, run in itertools.pairwise(runs):
        assert before.data_interval_end == run.data_interval_start == run.logical_date
        assert due(spec, start=run.logical_date) == run
        assert due(spec, start=before.logical_date + 1) == run


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), moments | near_changes)
def test_forward_and_backward_agree(expression, timezone, now):
    """Without catchup, the run that is due is the latest whose interval has ended: no tick lies between."""
    spec = cron(expression, timezone)
    run = due(spec, catchup=False, now=now)
    assert run.run_after <= now
    following = due(spec, after=run.logical_date, start=run.logical_date)
    assert following.logical_date == run.run_after
    assert following.run_after > now


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), moments | near_changes)
def test_away_from_clock_changes_a_tick_is_what_the_wall_clock_says(expression, timezone, start):
    """Compared with croniter's own matching, which knows nothing of ours."""
    from croniter import croniter

    spec = cron(expression, timezone)
    run = series(spec, start, 1)[0]
    tz = zone(timezone)
    wall = moment(run.logical_date).astimezone(tz)
    offsets = {(wall + timedelta(hours=hours)).astimezone(tz).utcoffset() for hours in (-27, 0, 27)}
    if len(offsets) == 1:
        assert croniter.match(expression, wall.replace(tzinfo=None))


@settings(deadline=None, max_examples=200)
@given(st.floats(1, 1e7), moments, moments)
def test_intervals_are_a_grid(seconds, start, now):
    """Contiguous and of equal length, also after a jump without catchup."""
    spec = every(seconds)
    step = round(seconds * SECOND)
    run = due(spec, start=start, catchup=False, now=now)
    assert (run.logical_date - start) % step == 0
    assert run.data_interval_end - run.data_interval_start == step
    assert run.run_after <= now or run.logical_date == start


class TestValidation:
    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("* * * *", "cron '* * * *' has 4 fields; it needs five: minute hour day-of-month month day-of-week"),
            (
                "0 0 * * * *",
                "cron '0 0 * * * *' has 6 fields; it needs five: minute hour day-of-month month day-of-week",
            ),
            ("0 0 31 2 *", "bad cron '0 0 31 2 *': it never fires"),
            ("R * * * *", "cron 'R * * * *': H and R stand for chosen-at-random times; write the times out"),
        ],
    )
    def test_bad_cron(self, expression, message):
        with pytest.raises(TimetableError) as caught:
            validate(cron(expression))
        assert str(caught.value) == message

    @pytest.mark.parametrize("expression", ["61 * * * *", "0 24 * * *", "0 0 32 * *", "*/0 * * * *", "a b c d e"])
    def test_croniter_says_what_is_wrong_with_a_field(self, expression):
        with pytest.raises(TimetableError, match=r"^bad cron '.*': .+"):
            validate(cron(expression))

    @pytest.mark.parametrize(
        "expression", ["0 0 L * *", "0 0 ? * MON#1", "0 0 * JAN-MAR FRI", "0 0 15W * *", "0 0 * * 7"]
    )
    def test_what_cron_users_know_is_accepted(self, expression):
        validate(cron(expression))

    @pytest.mark.parametrize("year", [1, 1899, 2200, 9999])
    def test_absurd_dates(self, year):
        value = utc(year, 6, 1)
        with pytest.raises(TimetableError, match=f"^start_date in the year {year} is outside the years 1900 to 2199"):
            validate(cron("0 0 * * *"), value)
        with pytest.raises(TimetableError, match="leave it out for no end"):
            validate(cron("0 0 * * *"), None, value)

    def test_start_after_end(self):
        with pytest.raises(TimetableError) as caught:
            validate(cron("0 0 * * *"), utc(2025, 1, 2), utc(2025, 1, 1))
        assert str(caught.value) == (
            "start_date 2025-01-02T00:00:00.000000+00:00 is after end_date 2025-01-01T00:00:00.000000+00:00"
        )

    @pytest.mark.parametrize("seconds", [0.0, -60.0, 0.5, 1e12, float("nan")])
    def test_intervals_that_are_no_schedule(self, seconds):
        with pytest.raises(TimetableError, match="use a timedelta of 1 second to 100 years"):
            validate(every(seconds))

    def test_unknown_zone(self):
        with pytest.raises(UnknownZoneError) as caught:
            validate(cron("0 0 * * *", "Europe/Berln"))
        assert str(caught.value) == "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"


class TestZones:
    @pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "+05:30", "-03:00"])
    def test_a_name_survives_the_round_trip(self, name):
        assert zone_name(zone(name)) == name

    def test_names_of_other_libraries_objects(self):
        pendulum_like = type("Timezone", (type(ZoneInfo("UTC")),), {"name": "Asia/Tokyo", "key": None})
        assert zone_name(pendulum_like("Asia/Tokyo")) == "Asia/Tokyo"

    def test_a_path_is_no_zone(self):
        with pytest.raises(UnknownZoneError, match="unknown time zone '../etc/passwd'"):
            zone("../etc/passwd")
