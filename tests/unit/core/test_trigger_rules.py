"""Trigger rules against Airflow's (``airflow/ti_deps/deps/trigger_rule_dep.py``), and what holds of all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.states import TASK_FINISHED, TaskState
from runtime.core.trigger_rules import TriggerRule, UpstreamCounts, Verdict, evaluate

S, F, K, U, _ = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, None
R, W, SKIP, UF = Verdict.RUN, Verdict.WAIT, Verdict.SKIP, Verdict.UPSTREAM_FAILED

UPSTREAM = ((_, _), (S, _), (F, _), (K, _), (U, _), (S, S), (S, F), (S, K), (S, U), (F, F), (F, K), (F, U), (K, K), (K, U), (U, U))
TABLE = {
    #                              __   S_   F_    K_    U_    SS    SF    SK    SU    FF   FK    FU    KK    KU    UU
    "all_success":                 (W,  W,   UF,   SKIP, UF,   R,    UF,   SKIP, UF,   UF,  UF,   UF,   SKIP, UF,   UF),
    "all_failed":                  (W,  SKIP, W,   SKIP, W,    SKIP, SKIP, SKIP, SKIP, R,   SKIP, R,    SKIP, SKIP, R),
    "all_done":                    (W,  W,   W,    W,    W,    R,    R,    R,    R,    R,   R,    R,    R,    R,    R),
    "all_done_min_one_success":    (W,  W,   W,    SKIP, W,    R,    R,    SKIP, R,    UF,  SKIP, UF,   SKIP, SKIP, UF),
    "all_skipped":                 (W,  SKIP, SKIP, W,   SKIP, SKIP, SKIP, SKIP, SKIP, SKIP, SKIP, SKIP, R,   SKIP, SKIP),
    "one_success":                 (W,  R,   W,    W,    W,    R,    R,    R,    R,    UF,  UF,   UF,   SKIP, UF,   UF),
    "one_failed":                  (W,  W,   R,    W,    R,    SKIP, R,    SKIP, R,    R,   R,    R,    SKIP, R,    R),
    "one_done":                    (W,  R,   R,    W,    W,    R,    R,    R,    R,    R,   R,    R,    SKIP, SKIP, SKIP),
    "none_failed":                 (W,  W,   UF,   W,    UF,   R,    UF,   R,    UF,   UF,  UF,   UF,   R,    UF,   UF),
    "none_failed_min_one_success": (W,  W,   UF,   W,    UF,   R,    UF,   R,    UF,   UF,  UF,   UF,   SKIP, UF,   UF),
    "none_skipped":                (W,  W,   W,    SKIP, W,    R,    R,    SKIP, R,    R,   SKIP, R,    SKIP, SKIP, R),
    "always":                      (R,  R,   R,    R,    R,    R,    R,    R,    R,    R,   R,    R,    R,    R,    R),
}
CASES = [
    pytest.param(rule, ended, verdict, id=f"{rule}: {', '.join(map(str, ended))}")
    for rule, verdicts in TABLE.items()
    for ended, verdict in zip(UPSTREAM, verdicts, strict=True)
]
rules = st.sampled_from(TriggerRule)
ends = st.lists(st.sampled_from(sorted(TASK_FINISHED - {TaskState.REMOVED})), min_size=1, max_size=8)


def counts(total: int, *ended: TaskState | None) -> UpstreamCounts:
    result = UpstreamCounts(total)
    for state in ended:
        if state is not None:
            result.add(state)
    return result


def verdicts(rule: str, order: list[TaskState]) -> list[Verdict]:
    """Before the first upstream task has ended, after it, after the second, …"""
    return [evaluate(rule, counts(len(order), *order[:done])) for done in range(len(order) + 1)]


def test_table_has_every_rule() -> None:
    assert set(TABLE) == {str(rule) for rule in TriggerRule}


@pytest.mark.parametrize(("rule", "ended", "verdict"), CASES)
def test_rule_of_two_upstream_tasks(rule: str, ended: tuple[TaskState | None, ...], verdict: Verdict) -> None:
    assert evaluate(rule, counts(2, *ended)) is verdict


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
            assert {F, U} & set(order[:done])


@given(st.lists(st.sampled_from(sorted(TASK_FINISHED)), max_size=9))
def test_counts_count_each_end_once(ended: list[TaskState]) -> None:
    found = counts(9, *ended)
    assert (found.done, found.all_done) == (len(ended), len(ended) == 9)
    assert found.any_failed == bool({F, U} & set(ended))
