"""Trigger rules against Airflow's (``airflow/ti_deps/deps/trigger_rule_dep.py``), and what holds of all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.states import TASK_FINISHED, TaskState
from runtime.core.trigger_rules import TriggerRule, UpstreamCounts, Verdict, evaluate

TABLE = """
upstream tasks              -- S- F- K- U- SS SF SK SU FF FK FU KK KU UU
all_success                 w  w  u  s  u  r  u  s  u  u  u  u  s  u  u
all_failed                  w  s  w  s  w  s  s  s  s  r  s  r  s  s  r
all_done                    w  w  w  w  w  r  r  r  r  r  r  r  r  r  r
all_done_min_one_success    w  w  w  s  w  r  r  s  r  u  s  u  s  s  u
all_done_setup_success      w  w  w  w  w  r  r  r  r  r  r  r  r  r  r
all_skipped                 w  s  s  w  s  s  s  s  s  s  s  s  r  s  s
one_success                 w  r  w  w  w  r  r  r  r  u  u  u  s  u  u
one_failed                  w  w  r  w  r  s  r  s  r  r  r  r  s  r  r
one_done                    w  r  r  w  w  r  r  r  r  r  r  r  s  s  s
none_failed                 w  w  u  w  u  r  u  r  u  u  u  u  r  u  u
none_failed_min_one_success w  w  u  w  u  r  u  r  u  u  u  u  s  u  u
none_skipped                w  w  w  s  w  r  r  s  r  r  s  r  s  s  r
always                      r  r  r  r  r  r  r  r  r  r  r  r  r  r  r
"""
"""Verdicts of a task with two upstream tasks that ended, in any order, as the head says: S success, F failed, K
skipped, U upstream_failed, - not yet. Verdicts: r run, w wait, s skip, u upstream_failed."""
ENDS = {"S": TaskState.SUCCESS, "F": TaskState.FAILED, "K": TaskState.SKIPPED, "U": TaskState.UPSTREAM_FAILED}
VERDICTS = {"r": Verdict.RUN, "w": Verdict.WAIT, "s": Verdict.SKIP, "u": Verdict.UPSTREAM_FAILED}
HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CASES = [
    pytest.param(rule, ended, VERDICTS[letter], id=f"{rule} {ended}")
    for rule, *letters in ROWS
    for ended, letter in zip(HEAD[2:], letters, strict=True)
]
FAILURES = {TaskState.FAILED, TaskState.UPSTREAM_FAILED}
rules = st.sampled_from(TriggerRule)
ends = st.lists(st.sampled_from(sorted(TASK_FINISHED - {TaskState.REMOVED})), min_size=1, max_size=8)


def counts(total: int, *ended: TaskState) -> UpstreamCounts:
    result = UpstreamCounts(total)
    for state in ended:
        result.add(state)
    return result


def verdicts(rule: str, order: list[TaskState]) -> list[Verdict]:
    """Before the first upstream task has ended, after it, after the second, …"""
    return [evaluate(rule, counts(len(order), *order[:done])) for done in range(len(order) + 1)]


def test_table_has_every_rule() -> None:
    assert {rule for rule, *_ in ROWS} == {str(rule) for rule in TriggerRule}


@pytest.mark.parametrize(("rule", "ended", "verdict"), CASES)
def test_rule_of_two_upstream_tasks(rule: str, ended: str, verdict: Verdict) -> None:
    assert evaluate(rule, counts(2, *[ENDS[one] for one in ended if one != "-"])) is verdict


@given(rules)
def test_task_without_upstream_runs(rule: TriggerRule) -> None:
    assert evaluate(rule, UpstreamCounts(0)) is Verdict.RUN


def test_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="no_such_rule"):
        evaluate("no_such_rule", UpstreamCounts(1))


@given(rules, ends)
def test_whoever_may_run_may_still_run_later_and_nobody_may_who_was_refused(
    rule: TriggerRule, order: list[TaskState]
) -> None:
    """Decided early is decided rightly: what ends later never turns *run* into a refusal, or a refusal into *run*."""
    decided = [verdict is Verdict.RUN for verdict in verdicts(rule, order) if verdict is not Verdict.WAIT]
    assert len(set(decided)) == 1


@given(rules, ends)
def test_nothing_waits_once_all_upstream_tasks_have_ended(rule: TriggerRule, order: list[TaskState]) -> None:
    assert verdicts(rule, order)[-1] is not Verdict.WAIT


@given(rules, ends)
def test_decided_once_never_waits_again(rule: TriggerRule, order: list[TaskState]) -> None:
    waiting = [verdict is Verdict.WAIT for verdict in verdicts(rule, order)]
    assert waiting == sorted(waiting, reverse=True)


@given(rules, ends, st.randoms())
def test_whether_it_runs_is_independent_of_the_order_of_ends(rule, order, random) -> None:
    shuffled = random.sample(order, len(order))
    assert evaluate(rule, counts(len(order), *order)) is evaluate(rule, counts(len(order), *shuffled))


@given(rules, ends)
def test_upstream_failed_needs_a_failure(rule: TriggerRule, order: list[TaskState]) -> None:
    """In Airflow, too, with the one exception of the two rules that ask for a success and found none."""
    for done, verdict in enumerate(verdicts(rule, order)):
        if verdict is Verdict.UPSTREAM_FAILED:
            assert FAILURES & set(order[:done])


@given(st.lists(st.sampled_from(sorted(TASK_FINISHED)), max_size=9))
def test_counts_count_each_end_once(ended: list[TaskState]) -> None:
    found = counts(9, *ended)
    assert (found.done, found.all_done) == (len(ended), len(ended) == 9)
    assert found.any_failed == bool(FAILURES & set(ended))
