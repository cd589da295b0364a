"""Identifiers: UUIDv7 that sort by time, and the names that people may give."""

from __future__ import annotations

import uuid

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.ids import is_id, is_run_id, manual_run_id, scheduled_run_id, uuid7


@given(st.integers(0, 2**42))
def test_uuid7_is_a_valid_one_of_its_millisecond(milliseconds: int) -> None:
    with time_machine.travel(milliseconds / 1000, tick=False):
        parsed = uuid.UUID(text := uuid7())
    assert (str(parsed), parsed.variant, parsed.version) == (text, uuid.RFC_4122, 7)
    assert abs((parsed.int >> 80) - milliseconds) <= 1, "a float of seconds is the test's own rounding"


@given(st.integers(0, 2**36), st.integers(1, 2**36))
def test_uuid7_sorts_by_time_as_text(earlier: int, gap: int) -> None:
    with time_machine.travel(earlier, tick=False):
        first = uuid7()
    with time_machine.travel(earlier + gap, tick=False):
        assert first < uuid7()


def test_uuid7_never_repeats_within_a_moment() -> None:
    with time_machine.travel(1_700_000_000, tick=False):
        assert len({uuid7() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 250, "-", "."])
def test_names_that_may_be(name: str) -> None:
    assert is_id(name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "a..b", "é", "x" * 251, "a\n", "a:b", "\0"])
def test_names_that_may_not_be(name: str) -> None:
    assert not is_id(name)


@pytest.mark.parametrize("name", ["manual__2026-01-01T00:00:00.000000+00:00", "a~b", "x" * 250, "R.1:2+3-4_5"])
def test_run_ids_that_may_be(name: str) -> None:
    assert is_run_id(name)


@pytest.mark.parametrize("name", ["", "a/b", "..", "../x", "a b", "a\n", "x" * 251, "é", "%2e"])
def test_run_ids_that_may_not_be(name: str) -> None:
    assert not is_run_id(name)


@given(st.text(max_size=30))
def test_no_accepted_name_leaves_its_folder(name: str) -> None:
    """Ids are folder names below the log folder."""
    if is_id(name) or is_run_id(name):
        assert "/" not in name
        assert ".." not in name
        assert "\0" not in name
        assert name.isascii()


@given(st.integers(0, 2**52))
def test_made_run_ids_are_allowed(moment: int) -> None:
    assert is_run_id(scheduled_run_id(moment))
    assert is_run_id(manual_run_id(moment, "_17"))
