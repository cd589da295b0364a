"""A scheduler whose clock is set back an hour makes no run twice and misses none."""

from __future__ import annotations

from runtime.core.clock import SECOND
from tests.database.builders import HOURLY, spec
from tests.integration.scheduler.scheduling import Scheduling

HOUR = 3600 * SECOND


def test_every_hour_has_one_run_whatever_the_clock_does(s: Scheduling) -> None:
    s.save(spec("d", timetable=HOURLY, start_date=s.at, catchup=True))
    for minutes in (61, 60, -60, 0, 61, -90, 150, 60):
        s.at += minutes * 60 * SECOND
        s.beat_api()
        s.step(6)
        s.rest()
    dates = sorted(row.logical_date for row in s.runs("d"))
    newest = dates[0] + (len(dates) - 1) * HOUR
    assert dates == list(range(dates[0], newest + 1, HOUR)), "neither a gap nor a double"
    assert newest + HOUR <= s.at < newest + 2 * HOUR, "the interval that ended last has its run"
    assert [row.state for row in s.runs("d")] == ["success"] * len(dates)
    s.check_nothing_is_left()
