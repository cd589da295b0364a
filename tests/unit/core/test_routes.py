"""The languages of ``[core] executor_routes`` and ``executor_fallback``, and what they say of a task."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.errors import ConfigError
from runtime.core.routes import FIELDS, Condition, FallbackPolicy, Rule, parse_fallback, parse_routes
from runtime.core.routing import Route, Tried, fell_back, leaves
from tests.database.builders import router, spec, task

NAMES = st.text("abcxyz019_-.*?", min_size=1, max_size=8)
RULES = st.builds(
    Rule,
    st.lists(
        st.builds(Condition, st.sampled_from(FIELDS), st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
        min_size=1,
        max_size=3,
    ).map(tuple),
    st.lists(st.text("abc01_", min_size=1, max_size=6), min_size=1, max_size=3, unique=True).map(tuple),
)


@given(rules=st.lists(RULES, max_size=4), separator=st.sampled_from([";", "\n", " ;\n ; "]))
def test_rules_are_read_as_they_are_shown(rules: list[Rule], separator: str) -> None:
    assert parse_routes(separator.join(map(str, rules))) == tuple(rules)


@given(st.text())
def test_any_text_is_rules_or_one_line(text: str) -> None:
    for parse in (parse_routes, parse_fallback):
        message = ""
        try:
            parse(text)
        except ConfigError as error:
            message = str(error)
        assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queue=gpu", "rule 1 'queue=gpu': no '->'; write queue=gpu -> k8s, for example"),
        ("queue=a -> b; -> c", "rule 2 '-> c': '' is no condition; write one of queue, pool, tag, "
         "dag_id, task_id = pattern"),
        ("owner=me -> b", "rule 1 'owner=me -> b': tasks have no 'owner' to go by; there are queue, "
         "pool, tag, dag_id, task_id"),
        ("queue=a| -> b", "rule 1 'queue=a| -> b': queue= has an empty pattern; * stands for anything"),
        ("queue=a -> b,", "rule 1 'queue=a -> b,': an executor's name is missing after '->'"),
        ("queue=a -> b, b", "rule 1 'queue=a -> b, b': an executor is named twice"),
    ],
)  # fmt: skip
def test_bad_rule_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_routes(text)
    assert str(caught.value) == f"[core] executor_routes, {message}"


def test_rule_for_an_executor_that_is_not_configured_is_told() -> None:
    with pytest.raises(ConfigError, match=r"executor_routes, rule 1 'queue=a -> west': unknown executor 'west'"):
        router("local", routes="queue=a -> west")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", FallbackPolicy()),
        ("none", FallbackPolicy()),
        (" full ,unavailable", FallbackPolicy(unavailable=True, full=True)),
        ("queued_longer_than=1.5", FallbackPolicy(queued_longer_than=1.5)),
    ],
)
def test_fallback_conditions(text: str, policy: FallbackPolicy) -> None:
    assert parse_fallback(text) == policy
    assert parse_fallback(str(policy)) == policy


@pytest.mark.parametrize("text", ["sometimes", "none, full", "queued_longer_than", "queued_longer_than=-1", "full=3"])
def test_bad_fallback_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[core\] executor_fallback: "):
        parse_fallback(text)


# -- what they say of a task

ROUTES = "queue=gpu|kube* -> k8s; tag=night*, pool=big -> celery, local; task_id=load_? -> celery"


@pytest.mark.parametrize(
    ("options", "tags", "chain", "reason"),
    [
        ({"queue": "gpu"}, (), ("k8s",), "route 1: queue=gpu|kube* -> k8s"),
        ({"queue": "kubernetes", "pool": "big"}, ("nightly",), ("k8s",), "route 1: queue=gpu|kube* -> k8s"),
        ({"pool": "big"}, ("a", "nightly"), ("celery", "local"), "route 2: tag=night*, pool=big -> celery, local"),
        ({"pool": "big"}, (), ("local",), "default: first in [core] executor"),
        ({"executor": "celery", "queue": "gpu"}, (), ("celery",), "task: executor='celery'"),
        ({"executor": "k8s", "executor_fallback": ("local",)}, (), ("k8s", "local"), "task: executor=['k8s', 'local']"),
        ({"executor": "gone", "executor_fallback": ("local",)}, (), ("local",), "task: executor=['gone', 'local']"),
    ],
)
def test_first_rule_that_matches_counts_and_what_a_task_says_goes_first(options, tags, chain, reason) -> None:
    found = router("local", "celery", "k8s", routes=ROUTES).route(spec("d", tags=tags), task("t", **options))
    assert found == Route(chain, reason)


def test_explanation_ends_with_what_decides_and_agrees_with_the_route() -> None:
    routed = router("local", "celery", "k8s", routes=ROUTES)
    for options in ({}, {"queue": "gpu"}, {"task_id": "load_1"}, {"executor": "k8s", "executor_source": "dag"}):
        one = task(**{"task_id": "t", **options})
        tried = list(routed.explain(spec("d"), one))
        assert [entry.decides for entry in tried] == [False] * (len(tried) - 1) + [True]
        assert tried[-1].what == routed.route(spec("d"), one).reason
    assert next(router("local").explain(spec("d"), task("t"))) == Tried("task: says nothing", False)


def test_leaving_an_executor_and_why() -> None:
    sick = {"a": "unavailable (no broker)"}
    for policy, of_sick, of_full in (("none", False, False), ("unavailable", True, False), ("full", False, True)):
        may_leave = leaves(parse_fallback(policy), sick)
        assert (may_leave("a"), may_leave("b")) == (of_sick, of_full)
    for policy in ("unavailable", "full"):
        assert not leaves(parse_fallback(policy), sick, {"c"})("c"), "what is just starting is waited for"
    assert fell_back(("a", "b", "c"), "c", sick) == "; fallback: a is unavailable (no broker), b is full"
    assert fell_back(("a", "b"), "a", sick) == ""
    assert parse_fallback("full").queued_longer_than == math.inf
