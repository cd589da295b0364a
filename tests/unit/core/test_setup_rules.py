"""The rule of teardowns, and what setups farther up say of a task, whatever its own rule."""

from __future__ import annotations

import pytest

from runtime.core.states import TaskState
from runtime.core.trigger_rules import UpstreamCounts, Verdict, evaluate, evaluate_setups

S, F, K, U = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
R, W = Verdict.RUN, Verdict.WAIT


@pytest.mark.parametrize(
    ("setups", "others", "verdict"),
    [
        ([S], [], W),
        ([S], [S], R),
        ([S], [F], R),
        ([S], [U], R),
        ([S], [K], R),
        ([F], [U], Verdict.UPSTREAM_FAILED),
        ([U], [U], Verdict.UPSTREAM_FAILED),
        ([K], [K], Verdict.SKIP),
        ([K], [], W),
    ],
)
def test_a_teardown_runs_when_all_is_done_and_its_setup_succeeded(
    setups: list[TaskState], others: list[TaskState], verdict: Verdict
) -> None:
    counts = UpstreamCounts(2, setups=1)
    for state in setups:
        counts.add_setup(state)
    for state in others:
        counts.add(state)
    assert evaluate("all_done_setup_success", counts) is verdict


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [((S, S), R), ((S, F), R), ((S, K), R), ((K, F), Verdict.UPSTREAM_FAILED), ((K, K), Verdict.SKIP)],
)
def test_one_setup_of_several_is_enough(ended: tuple[TaskState, ...], verdict: Verdict) -> None:
    counts = UpstreamCounts(2, setups=2)
    for state in ended:
        counts.add_setup(state)
    assert evaluate("all_done_setup_success", counts) is verdict


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        ((), W),
        ((S,), W),
        ((S, S), R),
        ((F,), Verdict.UPSTREAM_FAILED),
        ((U, K), Verdict.UPSTREAM_FAILED),
        ((K,), Verdict.SKIP),
    ],
)
def test_setups_farther_up_must_all_succeed(ended: tuple[TaskState, ...], verdict: Verdict) -> None:
    counts = UpstreamCounts(2)
    for state in ended:
        counts.add(state)
    assert evaluate_setups(counts) is verdict
