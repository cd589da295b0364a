"""The rules that judge a worker's report: any attempt, any request. Pure, so rows are made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from runtime.core.messages import Finish, Start
from runtime.core.states import ATTEMPT_ACTIVE, AttemptState, TaskState
from runtime.db.transitions import Batch
from runtime.service.attempts import Attempt, judge_finish, judge_running, judge_start

AT = 10**15
states = st.tuples(st.sampled_from(AttemptState), st.sampled_from(TaskState))
nonces = st.sampled_from(["n1", "n2"])


@st.composite
def attempts(draw: Any) -> Attempt:
    """Any combination of states, also those that nothing leads to."""
    state, ti_state = draw(states)
    row = SimpleNamespace(
        id="a1",
        ti_id="t1",
        ti_attempt_id=draw(st.sampled_from(["a1", "a2", None])),
        ti_reason=None,
        dag_run_id=1,
        dag_id="d",
        task_id="t",
        run_id="r",
        map_index=-1,
        try_number=draw(st.integers(1, 3)),
        max_tries=draw(st.integers(0, 3)),
        dispatch_number=1,
        rel_path="f.py",
        file_hash="h",
        run_type="manual",
        run_after=AT,
        logical_date=None,
        data_interval_start=None,
        data_interval_end=None,
        run_start_date=AT,
        conf="{}",
        executor="one",
        queue="default",
        pool="default_pool",
    )
    return Attempt(cast("Any", row), state, ti_state, draw(st.none() | nonces))


def start(nonce: str) -> Start:
    return Start("a1", nonce, "host", 1, 2, "boot")


@given(attempts(), nonces)
def test_start_is_granted_to_what_is_queued_and_current_or_again_to_its_launch(attempt: Attempt, nonce: str) -> None:
    batch = Batch(AT, "test")
    was, was_ti, holder = attempt.state, attempt.ti_state, attempt.nonce
    reply = judge_start(attempt, start(nonce), batch)
    fresh = was is AttemptState.QUEUED and was_ti is TaskState.QUEUED and attempt.is_current
    again = was is AttemptState.RUNNING and holder == nonce and attempt.is_current
    assert reply.granted == (fresh or again)
    assert bool(batch) == fresh
    assert (reply.context is not None) == reply.granted == (not reply.reason)


@given(attempts(), nonces, nonces)
def test_no_second_launch_is_granted_the_start(attempt: Attempt, first: str, second: str) -> None:
    batch = Batch(AT, "test")
    if judge_start(attempt, start(first), batch).granted:
        assert judge_start(attempt, start(second), batch).granted == (first == second)
        assert len(batch.starts) <= 1


@given(attempts(), nonces)
def test_only_the_launch_that_runs_may_go_on(attempt: Attempt, nonce: str) -> None:
    reply = judge_running(attempt, nonce)
    runs = attempt.state is AttemptState.RUNNING and attempt.ti_state is TaskState.RUNNING
    assert reply.go_on == (runs and attempt.is_current and attempt.nonce == nonce)
    assert reply.go_on == (not reply.reason)


@given(attempts(), nonces, st.sampled_from(["success", "failed", "skipped"]), st.booleans())
def test_report_ends_a_running_attempt_of_this_launch_and_nothing_else(
    attempt: Attempt, nonce: str, outcome: str, retry: bool
) -> None:
    batch = Batch(AT, "test")
    was, was_ti = attempt.state, attempt.ti_state
    reply = judge_finish(attempt, Finish("a1", nonce, outcome, retry=retry), batch)
    ends = was is AttemptState.RUNNING and attempt.nonce == nonce
    assert [row["v_state"] for row in batch.attempt_ends] == ([outcome] if ends else [])
    moves = ends and attempt.is_current and was_ti in {TaskState.RUNNING, TaskState.RESTARTING}
    assert len(batch.ends) == len(batch.inbox) == moves
    assert reply.accepted == (ends or (attempt.nonce == nonce and was == outcome))
    assert reply.state == attempt.ti_state
    if moves and was_ti is TaskState.RESTARTING:
        assert attempt.ti_state is TaskState.NONE
    elif moves and outcome == "failed":
        again = retry and attempt.row.try_number <= attempt.row.max_tries
        assert attempt.ti_state is (TaskState.UP_FOR_RETRY if again else TaskState.FAILED)
    elif moves:
        assert attempt.ti_state == outcome


@given(attempts(), nonces, st.text(max_size=10))
def test_unknown_outcome_changes_nothing(attempt: Attempt, nonce: str, outcome: str) -> None:
    if outcome in {"success", "failed", "skipped"}:
        return
    batch = Batch(AT, "test")
    reply = judge_finish(attempt, Finish("a1", nonce, outcome), batch)
    assert not reply.accepted
    assert not batch


@given(attempts(), nonces)
def test_report_twice_ends_once(attempt: Attempt, nonce: str) -> None:
    batch = Batch(AT, "test")
    first = judge_finish(attempt, Finish("a1", nonce, "success"), batch)
    second = judge_finish(attempt, Finish("a1", nonce, "success"), batch)
    assert first.accepted == second.accepted
    assert first.state == second.state
    assert len(batch.attempt_ends) <= 1


@given(attempts())
def test_after_the_end_nothing_may_start_or_go_on(attempt: Attempt) -> None:
    batch = Batch(AT, "test")
    if attempt.nonce is None or not judge_finish(attempt, Finish("a1", attempt.nonce, "success"), batch).accepted:
        return
    assert attempt.state not in ATTEMPT_ACTIVE
    assert not judge_running(attempt, attempt.nonce).go_on
    assert not judge_start(attempt, start(attempt.nonce), batch).granted
