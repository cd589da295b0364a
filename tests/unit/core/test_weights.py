"""Effective priority weights, against a slow walk over the graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.core.weights import RULES, effective_weights


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 12))
    names = [f"t{number}" for number in range(size)]
    upstream = {name: sorted(draw(st.sets(st.sampled_from(names[:i])))) if i else [] for i, name in enumerate(names)}
    own = {name: draw(st.integers(-50, 50) | st.integers(-(2**31) + 1, 2**31 - 1)) for name in names}
    rules = {name: draw(st.sampled_from(RULES)) for name in names}
    return names, upstream, own, rules


def walk(task: str, edges: dict[str, list[str]]) -> set[str]:
    found, todo = {task}, [task]
    while todo:
        for other in edges.get(todo.pop(), []):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


@given(graphs())
def test_each_task_counts_what_its_rule_reaches_once(graph):
    """Also where paths meet again, and with weights below zero."""
    order, upstream, own, rules = graph
    downstream: dict[str, list[str]] = {}
    for task, others in upstream.items():
        for other in others:
            downstream.setdefault(other, []).append(task)
    edges = {"upstream": upstream, "downstream": downstream, "absolute": {}}
    expected = {task: sum(own[reached] for reached in walk(task, edges[rules[task]])) for task in order}
    assert effective_weights(own, rules, upstream, order) == expected
