"""Setups and teardowns in the graph: whose they are, which tasks make the run's state, and what a clear takes along."""

from __future__ import annotations

import pytest

from runtime.core.relatives import Relatives, to_clear
from runtime.core.specs import TaskSpec
from tests.database.builders import task

TEARDOWN = {"is_teardown": True, "trigger_rule": "all_done_setup_success"}
PIPELINE = (
    task("before"),
    task("make", "before", is_setup=True),
    task("load", "make"),
    task("use", "load"),
    task("report", "use"),
    task("drop", "make", "use", **TEARDOWN),
    task("after", "report"),
)
"""``report`` and ``after`` follow the work, not the clearing up: the setup is not theirs."""


def test_a_setup_belongs_to_what_stands_between_it_and_its_teardown() -> None:
    relatives = Relatives(PIPELINE)
    assert relatives.users_of_setups() == {"make": ["use"]}
    assert relatives.setups_and_teardowns("use") == {"make", "drop"}
    assert relatives.setups_and_teardowns("load") == {"make", "drop"}
    assert relatives.setups_and_teardowns("report") == relatives.setups_and_teardowns("before") == set()


def test_a_setup_without_a_teardown_belongs_to_all_that_follows() -> None:
    tasks = (task("make", is_setup=True), task("a", "make"), task("b", "a"), task("c", "b"))
    assert Relatives(tasks).users_of_setups() == {"make": ["b", "c"]}


@pytest.mark.parametrize(
    ("tasks", "leaves"),
    [
        (PIPELINE, ["after"]),
        ((task("s", is_setup=True), task("w", "s"), task("t", "s", "w", **TEARDOWN)), ["w"]),
        ((task("s", is_setup=True), task("w", "s"), task("t", "w", on_failure_fail_dagrun=True, **TEARDOWN)), ["t"]),
        ((task("w"), task("t", "w", **TEARDOWN), task("x", "t")), ["w", "x"]),
        ((task("t1", **TEARDOWN), task("t2", "t1", **TEARDOWN)), ["t2"]),
    ],
    ids=["work", "teardown ignored", "teardown counts", "after a teardown", "teardowns only"],
)
def test_leaves_are_those_that_make_the_state_of_the_run(tasks: tuple[TaskSpec, ...], leaves: list[str]) -> None:
    assert Relatives(tasks).leaves() == leaves


@pytest.mark.parametrize(
    ("chosen", "options", "cleared"),
    [
        ({"use"}, {}, {"use", "make", "drop"}),
        ({"make"}, {}, {"make", "drop"}),
        ({"drop"}, {}, {"drop"}),
        ({"report"}, {}, {"report"}),
        ({"use"}, {"downstream": True}, {"use", "report", "after", "make", "drop"}),
        ({"report"}, {"upstream": True}, {"report", "use", "load", "make", "before", "drop"}),
        ({"before"}, {"downstream": True}, {one.task_id for one in PIPELINE}),
    ],
)
def test_a_clear_takes_setups_and_teardowns_along(
    chosen: set[str], options: dict[str, bool], cleared: set[str]
) -> None:
    assert to_clear(PIPELINE, chosen, **options) == cleared


def test_a_task_that_is_none_is_an_error() -> None:
    with pytest.raises(KeyError, match="ghost"):
        to_clear(PIPELINE, {"ghost"})
