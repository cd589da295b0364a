"""Tasks that name several executors: when they go on to the next, and that it is written down."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scheduling import Scheduling

from runtime.scheduler.loop import SILENCE
from tests.database.builders import spec, start, task

Make = Callable[..., Scheduling]
BOTH = {"executor": "one", "executor_fallback": ("two",), "executor_source": "task"}


def make_sick(s: Scheduling, name: str = "one") -> None:
    s.executors[name].raises("sync", ConnectionError("no broker"))
    for _ in range(3):
        s.forward(40)
        s.turn()


def chosen(s: Scheduling, task_id: str) -> list[tuple[str, str]]:
    return [(attempt.executor, attempt.executor_reason) for attempt in s.attempts(task_id)]


def test_sick_executor_is_passed_by(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2})
    s.step()
    make_sick(s)
    run = s.begin_run(spec("d", task("a", **BOTH)))
    assert s.run_to_end(run) == ["success"]
    why = "task: executor=['one', 'two']; fallback: one is unavailable (heartbeat raised ConnectionError: no broker)"
    assert chosen(s, "a") == [("two", why)]
    s.check_nothing_is_left()


@pytest.mark.parametrize(("policy", "launched"), [("unavailable", []), ("full", ["b"])])
def test_full_executor_is_waited_for_unless_told_otherwise(scheduling: Make, policy: str, launched: list[str]) -> None:
    s = scheduling({"one": 1, "two": 1}, fallback=policy)
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a", priority_weight=9, **BOTH), task("b", **BOTH)))
    s.rest()
    assert (s.launches("one"), s.launches("two")) == (["a"], launched)
    s.executors["one"].end_held("a")
    assert s.run_to_end(run) == ["success"]
    assert chosen(s, "b")[0][1].endswith("; fallback: one is full") == bool(launched)


def test_chain_takes_no_slot_from_a_higher_priority_of_the_second_executor(scheduling: Make) -> None:
    s = scheduling({"one": 1, "two": 1}, fallback="full")
    s.plan(held="hold")
    own = {"executor": "two"}
    s.begin_run(spec("d", task("held", priority_weight=99, executor="one")))
    s.rest()
    s.begin_run(spec("e", task("chained", priority_weight=1, **BOTH), task("native", priority_weight=5, **own)))
    s.rest()
    assert s.launches("two")[0] == "native"
    s.executors["one"].end_held("held")


def test_attempt_that_waits_at_an_executor_that_falls_sick_is_taken_back(scheduling: Make) -> None:
    """It has not started: a start that comes afterwards is refused."""
    s = scheduling({"one": 2, "two": 2})
    s.plan(a="wait, success")
    run = s.begin_run(spec("d", task("a", **BOTH)))
    s.rest()
    (first,) = s.executors["one"].launched
    make_sick(s)
    assert s.run_to_end(run) == ["success"]
    (_, one), (_, two) = s.history("a"), chosen(s, "a")
    assert [a.executor for a in s.attempts("a")] == ["one", "two"]
    assert one[2] == "success"
    assert two[1] == "task: executor=['one', 'two']; taken back from one"
    assert "taken back from one, which is unavailable" in (s.attempts("a")[0].reason or "")
    (answer,) = s.ask(start(first.attempt_id))
    assert not answer.granted
    assert s.attempts("a")[1].try_number == 1, "it costs no try"


def test_attempt_that_runs_stays_where_it_is(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2}, fallback="unavailable, full, queued_longer_than=5")
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a", **BOTH)))
    s.rest()
    make_sick(s)
    s.pass_time(20, by=SILENCE)
    assert [a.executor for a in s.attempts("a")] == ["one"]
    s.executors["one"].raises("sync", times=0)
    s.executors["one"].end_held("a")
    assert s.run_to_end(run) == ["success"]


def test_attempt_that_waits_for_too_long_is_taken_back(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2}, fallback="queued_longer_than=30")
    s.plan(a="wait, success")
    run = s.begin_run(spec("d", task("a", **BOTH)))
    s.pass_time(25, by=5)
    assert len(s.attempts("a")) == 1
    s.pass_time(10, by=SILENCE)
    assert s.run_to_end(run) == ["success"]
    assert [a.executor for a in s.attempts("a")] == ["one", "two"]
    assert "which has not started it for 3" in (s.attempts("a")[0].reason or "")
    s.check_nothing_is_left()


@pytest.mark.parametrize("policy", ["none", "full"])
def test_without_that_condition_it_waits_for_its_executor(scheduling: Make, policy: str) -> None:
    s = scheduling({"one": 2, "two": 2}, fallback=policy)
    s.step()
    make_sick(s)
    run = s.begin_run(spec("d", task("a", **BOTH)))
    s.pass_time(60, by=10)
    assert s.states(run.id) == {"a": "scheduled"}
    s.executors["one"].raises("sync", times=0)
    s.forward(40)
    s.turn()
    assert s.run_to_end(run) == ["success"]
    assert s.launches("one") == ["a"]


def test_routes_choose_where_nobody_said(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2}, routes="queue=gpu -> two")
    run = s.begin_run(spec("d", task("a", queue="gpu"), task("b")))
    assert s.run_to_end(run) == ["success"]
    assert chosen(s, "a") == [("two", "route 1: queue=gpu -> two")]
    assert chosen(s, "b") == [("one", "default: first in [core] executor")]


@pytest.mark.parametrize("policy", ["unavailable", "full"])
def test_executor_that_is_just_starting_is_waited_for(scheduling: Make, policy: str) -> None:
    s = scheduling({"one": 2, "two": 2}, fallback=policy)
    s.lanes["one"] = s._lane("one", 2)
    run = s.begin_run(spec("d", task("a", **BOTH)))
    s.scheduler.step(hinted=True)
    assert s.states(run.id) == {"a": "scheduled"}
    assert s.run_to_end(run) == ["success"]
    assert s.launches("one") == ["a"]
