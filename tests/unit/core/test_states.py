"""The table of legal transitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.states import (
    LEGAL,
    TASK_ACTIVE,
    TASK_FINISHED,
    AttemptState,
    IllegalTransitionError,
    TaskState,
    check_transition,
)

states = st.sampled_from(TaskState)


def test_every_state_has_its_row() -> None:
    assert set(LEGAL) == set(TaskState)


@given(states, states)
def test_check_says_what_the_table_says(old: TaskState, new: TaskState) -> None:
    if new in LEGAL[old]:
        check_transition(old, new, "story")
    else:
        with pytest.raises(IllegalTransitionError, match=f"^{old} → {new} is not a legal transition: the story$"):
            check_transition(old, new, "the story")


@given(st.sampled_from(sorted(TASK_FINISHED)), states)
def test_a_finished_state_is_left_to_none_or_where_its_attempt_still_runs_to_restarting_only(
    old: TaskState, new: TaskState
) -> None:
    assert (new in LEGAL[old]) == (new in {TaskState.NONE, TaskState.RESTARTING})


@given(states)
def test_nothing_stays_where_it_is(state: TaskState) -> None:
    assert state not in LEGAL[state]


@given(states.filter(lambda state: state not in TASK_FINISHED))
def test_every_open_state_can_end(state: TaskState) -> None:
    reached, new = {state}, {state}
    while new := {to for old in new for to in LEGAL[old] if old not in TASK_FINISHED} - reached:
        reached |= new
    assert reached & TASK_FINISHED


def test_success_comes_from_an_attempt_or_from_nothing_to_execute() -> None:
    """Never from *scheduled*, *up_for_retry* or *restarting*: nobody has run it then."""
    before = {old for old, ways in LEGAL.items() if TaskState.SUCCESS in ways}
    assert before == {TaskState.NONE, TaskState.QUEUED, TaskState.RUNNING}


def test_running_is_reached_from_queued_only() -> None:
    """A start is granted to what an attempt was committed for."""
    assert [old for old, ways in LEGAL.items() if TaskState.RUNNING in ways] == [TaskState.QUEUED]


def test_cleared_while_active_comes_back_or_fails() -> None:
    assert {TaskState.NONE, TaskState.FAILED} == LEGAL[TaskState.RESTARTING]
    assert {TaskState.QUEUED, TaskState.RUNNING, TaskState.RESTARTING} == TASK_ACTIVE


def test_outcomes_of_attempts_are_task_states_too() -> None:
    names = {str(state) for state in TaskState}
    assert {str(state) for state in AttemptState} - names == {"lost"}
