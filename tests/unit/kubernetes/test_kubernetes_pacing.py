"""How many calls run at once, which of them are made again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.kubernetes.errors import (
    ClusterConfigError,
    ClusterTimeoutError,
    ClusterUnreachableError,
    KubernetesError,
    PodConfigError,
    status_error,
)
from executors.kubernetes.pacing import LONGEST_RETRY_AFTER, Fate, Pace, fate, is_uncertain, pause
from executors.kubernetes.quota import QuotaWaiters


def _api(code: int, reason: str = "", message: str = "no", retry_after: float | None = None) -> KubernetesError:
    return status_error("create a pod", {"reason": reason, "message": message}, code, retry_after)


UNREACHABLE = ClusterUnreachableError("create a pod: refused")
THROTTLED = _api(429)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UNREACHABLE, Fate.SILENT),
        (ClusterTimeoutError("slow"), Fate.SILENT),
        (ClusterConfigError("no token file"), Fate.SILENT),
        (_api(401), Fate.SILENT),
        (THROTTLED, Fate.THROTTLED),
        (_api(503, retry_after=5.0), Fate.THROTTLED),
        (_api(500), Fate.BUSY),
        (_api(504, "Timeout"), Fate.BUSY),
        (_api(410), Fate.BUSY),
        (_api(408), Fate.BUSY),
        (_api(409, "Conflict", "the object has been modified"), Fate.BUSY),
        (_api(403, "Forbidden", "exceeded quota: few"), Fate.QUOTA),
        (_api(403, "Forbidden"), Fate.REFUSED),
        (_api(409, "AlreadyExists"), Fate.REFUSED),
        (_api(400), Fate.REFUSED),
        (_api(404), Fate.REFUSED),
        (_api(422, "Invalid"), Fate.REFUSED),
        (PodConfigError("no image"), Fate.REFUSED),
    ],
)
def test_fate(error: KubernetesError, expected: Fate) -> None:
    assert fate(error) is expected


def test_a_lost_answer_is_uncertain() -> None:
    assert is_uncertain(UNREACHABLE)
    assert is_uncertain(_api(504))
    assert not is_uncertain(THROTTLED)
    assert not is_uncertain(_api(403))


@given(tries=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_end(tries: int, draw: float) -> None:
    assert 0.05 <= pause(tries, draw) <= 30.0
    assert pause(tries + 1, draw) >= pause(tries, draw)


def test_a_complaint_halves_and_successes_raise_again() -> None:
    pace = Pace(8)
    pace.learn(THROTTLED, 0.0, 1.0, 0.5)
    assert pace.limit == 4
    began, successes = 2.0, 0
    while pace.limit < 8:
        pace.learn(None, began, began, 0.5)
        began, successes = began + 1, successes + 1
    assert 20 <= successes <= 40


def test_complaints_of_calls_that_ran_together_count_once() -> None:
    pace = Pace(8)
    for _ in range(8):
        pace.learn(THROTTLED, 0.5, 1.0, 0.5)
    assert pace.limit == 4
    pace.learn(THROTTLED, 1.5, 2.0, 0.5)
    assert pace.limit == 2


def test_retry_after_closes_for_all() -> None:
    pace = Pace(8)
    pace.learn(_api(429, retry_after=7.0), 0.0, 10.0, 0.5)
    assert pace.open_at == 17.0
    pace.learn(_api(429, retry_after=2.0), 0.0, 10.5, 0.5)
    assert pace.open_at == 17.0


def test_a_silly_retry_after_is_cut() -> None:
    pace = Pace(8)
    pace.learn(_api(429, retry_after=1e9), 0.0, 0.0, 0.5)
    assert pace.open_at == LONGEST_RETRY_AFTER


def test_an_unreachable_server_is_probed_one_by_one() -> None:
    pace = Pace(8)
    pace.learn(UNREACHABLE, 0.0, 1.0, 0.5)
    assert pace.limit == 1
    assert pace.open_at > 1.0


def test_refusals_of_one_call_slow_no_other() -> None:
    pace = Pace(8)
    for error in (_api(422), _api(403, message="exceeded quota"), _api(500)):
        pace.learn(error, 0.0, 1.0, 0.5)
    assert pace.limit == 8
    assert pace.open_at < 0.0


LESSONS = st.tuples(
    st.sampled_from([None, UNREACHABLE, THROTTLED, _api(429, retry_after=3.0), _api(500), _api(422)]),
    st.floats(0, 20),
    st.floats(0, 20),
    st.floats(0, 1, exclude_max=True),
)


@given(ceiling=st.integers(1, 32), lessons=st.lists(LESSONS, max_size=60))
def test_limit_stays_in_its_bounds(
    ceiling: int, lessons: list[tuple[KubernetesError | None, float, float, float]]
) -> None:
    """Whatever is learnt, some call can be made, and never for longer than the longest pause from now can none."""
    pace, now = Pace(ceiling), 0.0
    for error, ago, later, draw in lessons:
        now += later
        pace.learn(error, now - ago, now, draw)
        assert 1 <= pace.limit <= ceiling
        assert pace.open_at <= now + 30.0
    for step in range(2000):
        pace.learn(None, now + 1 + step, now + 1 + step, 0.5)
    assert pace.limit == ceiling


def test_a_quota_is_asked_seldom_however_many_wait() -> None:
    """Ten times a second, and by each of a few once in five seconds at least."""
    waiters: QuotaWaiters[int] = QuotaWaiters()
    assert waiters.add("jobs", 0, 1, 0.0) == 0.5
    assert waiters.add("jobs", 0, 99, 0.999) <= 5.0
    waits = [waiters.add("jobs", key, 1, 0.0) for key in range(1000)]
    assert waits[-1] == 100.0
    assert waiters.add("other", 1, 1, 0.0) == 0.5


def test_where_one_gets_through_others_follow_in_turn() -> None:
    waiters: QuotaWaiters[str] = QuotaWaiters()
    for key in "abc":
        waiters.add("jobs", key, 1, 0.0)
    assert waiters.followers("jobs") == ["a", "b"]
    assert waiters.followers("jobs") == ["c", "a"]
    waiters.remove("jobs", "b")
    assert waiters.followers("jobs") == ["c", "a"]
    assert waiters.followers("other") == []
