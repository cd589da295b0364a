"""Moments: whole microseconds, to and from what people and DAG authors see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.clock import SECOND, iso, later, micros, moment, now

LATEST = micros(datetime(9999, 12, 31, tzinfo=UTC))
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=offsets))
def test_round_trip_is_exact(at: datetime) -> None:
    assert moment(micros(at)) == at


@given(st.integers(-(10**16), 10**17), st.integers(0, 10**15))
def test_order_is_that_of_datetimes(value: int, gap: int) -> None:
    assert (moment(value) < moment(value + gap)) == (gap > 0)


def test_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^2026-01-01T00:00:00 has no time zone$"):
        micros(datetime(2026, 1, 1))


def test_iso_always_shows_microseconds_and_utc() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000000+00:00"
    assert iso(-1) == "1969-12-31T23:59:59.999999+00:00"
    assert iso(None) is None


def test_now_is_the_wall_clock() -> None:
    with time_machine.travel(datetime(2026, 5, 1, tzinfo=UTC), tick=False):
        assert now() == micros(datetime(2026, 5, 1, tzinfo=UTC))


@given(st.integers(0, LATEST), st.floats(allow_nan=False))
def test_later_is_always_a_moment_that_can_be_kept(at: int, seconds: float) -> None:
    """``retry_delay=timedelta.max`` is a number, too: it must fit into a column and into a ``datetime``."""
    result = later(at, seconds)
    assert -(2**63) <= result < 2**63
    assert iso(result)


@given(st.integers(0, 10**15), st.floats(0, 10**9))
def test_later_adds_seconds(at: int, seconds: float) -> None:
    assert later(at, seconds) == at + round(seconds * SECOND)
