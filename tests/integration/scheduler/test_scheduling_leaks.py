"""Slots that somebody forgot to free are found and freed, nothing else is touched: executor, scheduler, database."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.scheduler.loop import CHORES
from runtime.scheduler.memory import Handed
from runtime.scheduler.reconciling import LEAKS
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
ROUNDS = 3 * CHORES
"""Seconds in which a difference is seen twice, and acted upon."""


def held(scheduling: Make, word: str = "hold", **options) -> Scheduling:
    """A scheduler whose executor ``one`` has two slots, one of them taken by the task ``a``."""
    s = scheduling({"one": 2}, heartbeat_timeout=120.0, **options)
    s.plan(a=word)
    s.begin_run(spec("d", task("a")), "r")
    s.rest()
    return s


def mended(s: Scheduling) -> int:
    return json.loads(s.scheduler.stats.to_json())["counters"].get(LEAKS, 0)


def test_what_an_executor_has_forgotten_before_it_began_is_launched_again(scheduling: Make, caplog) -> None:
    s = held(scheduling, "wait, success")
    s.one.running.clear()
    with caplog.at_level(logging.WARNING, "runtime.scheduler.reconciling"):
        s.pass_time(ROUNDS)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.attempts("a")[0].reason == "one no longer knows of it"
    assert "was handed to one, which holds nothing of it" in caplog.text
    assert mended(s) == 1
    s.check_nothing_is_left()


def test_one_that_runs_elsewhere_goes_on_and_only_its_slot_is_freed(scheduling: Make) -> None:
    """It may well run: only its own report or its silence ends it."""
    s = held(scheduling)
    s.one.running.clear()
    s.pass_time(ROUNDS)
    assert (s.memory.handed, s.history("a")) == ({}, [(1, 1, "running")])
    s.one.end_held("a")
    s.rest()
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


def test_one_of_this_host_that_its_executor_has_forgotten_runs_again(scheduling: Make) -> None:
    s = held(scheduling, "hold, success", local=["one"])
    s.one.running.clear()
    s.pass_time(ROUNDS)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.ti("a").infra_losses == 1
    s.check_nothing_is_left()


def test_what_nobody_knows_is_taken_from_the_executor(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    stray = TaskInstanceKey("gone", "gone", "gone", attempt_id="01890000-0000-7000-8000-000000000000")
    s.one.running[stray] = Workload(stray, (), CodeReference("", ""))
    s.pass_time(ROUNDS)
    assert s.one.running == {}
    assert ("revoke_task", stray) in s.one.calls
    assert s.run_to_end(s.begin_run(spec("d"))) == ["success"]


def test_a_slot_that_is_held_long_after_the_end_is_freed(scheduling: Make) -> None:
    """Not before a heartbeat timeout has passed: a backend may be slow to tell."""
    s = held(scheduling, "unseen")
    assert s.history("a") == [(1, 1, "success")]
    s.one.running[s.one.launched[0]] = Workload(s.one.launched[0], (), CodeReference("", ""))
    (run,) = s.runs("d")
    s.memory.handed[s.one.launched[0].attempt_id] = _handed(s, run.id)
    s.pass_time(60)
    assert s.one.running != {}
    s.pass_time(120, by=5)
    assert (s.one.running, s.memory.handed, mended(s)) == ({}, {}, 1)
    s.check_nothing_is_left()


def test_what_the_scheduler_has_forgotten_is_remembered_again(scheduling: Make) -> None:
    s = held(scheduling)
    forgotten = dict(s.memory.handed)
    s.memory.handed.clear()
    s.pass_time(ROUNDS)
    assert s.memory.handed == forgotten
    s.one.end_held("a")
    s.rest()
    s.check_nothing_is_left()


def test_what_nobody_holds_and_never_began_is_launched_again(scheduling: Make) -> None:
    s = held(scheduling, "wait, success")
    s.one.running.clear()
    s.memory.handed.clear()
    s.pass_time(ROUNDS)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]
    assert s.attempts("a")[0].reason == "no executor holds it"
    s.check_nothing_is_left()


def test_one_difference_alone_means_nothing(scheduling: Make) -> None:
    """News may be under way: it must be seen twice in a row."""
    s = held(scheduling)
    kept = dict(s.one.running)
    s.one.running.clear()
    s.pass_time(CHORES)
    s.one.running.update(kept)
    s.pass_time(CHORES * 4)
    assert (len(s.memory.handed), s.history("a"), mended(s)) == (1, [(1, 1, "running")], 0)


def test_an_executor_that_is_sick_is_not_judged(scheduling: Make) -> None:
    s = held(scheduling, "wait")
    s.one.running.clear()
    s.one.raises("heartbeat", ConnectionError("the broker is away"))
    s.pass_time(ROUNDS)
    assert (len(s.memory.handed), s.history("a")) == (1, [(1, 1, "queued")])


@pytest.mark.parametrize("word", ["hold", "wait"])
def test_what_is_being_offered_for_adoption_is_no_leak(scheduling: Make, word: str) -> None:
    s = held(scheduling, word)
    s.scheduler.finish()
    s.begin_scheduler()
    s.one.adopts = True
    s.one.raises("try_adopt_task_instances", ConnectionError("not now"), 3)
    s.pass_time(ROUNDS)
    assert len(s.attempts("a")) == 1
    assert mended(s) == 0
    s.pass_time(ROUNDS)
    assert (len(s.one.running), len(s.memory.handed), mended(s)) == (1, 1, 0)


def test_a_busy_deployment_has_no_leaks(scheduling: Make) -> None:
    """Whatever is under way when executors are asked: nothing is taken for a leak."""
    s = scheduling({"one": 3, "two": 0})
    s.plan(a="success", b="refused", c="lost, success", e="hold")
    run = s.begin_run(
        spec("d", *(task(name, retries=1, retry_delay=5.0) for name in "abc"), task("e", executor="two")), "r"
    )
    for _ in range(6):
        s.pass_time(CHORES)
    s.executors["two"].end_held("e")
    s.run_to_end(run)
    assert mended(s) == 0
    s.check_nothing_is_left()


def _handed(s: Scheduling, run: int) -> Handed:
    return Handed("one", run, s.ti("a").id, s.one.launched[0])


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_key_that_no_database_takes_ends_nothing(scheduling: Make, name: str) -> None:
    s = scheduling({"one": 2})
    stray = TaskInstanceKey("gone", "gone", "gone", attempt_id=name)
    s.one.running[stray] = Workload(stray, (), CodeReference("", ""))
    s.pass_time(ROUNDS)
    assert s.run_to_end(s.begin_run(spec("d"))) == ["success"]
