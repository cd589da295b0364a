"""Adoption by an executor that cannot answer when it is asked: it is asked again, and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.db.schema import task_attempt
from runtime.db.transitions import GuardRefusedError
from runtime.scheduler.health import Health
from runtime.scheduler.loop import CHORES
from runtime.scheduler.recovery import MOST_OFFERS
from runtime.scheduler.step import Step
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]


def restarted(s: Scheduling, *, times: int | None = None) -> None:
    """A new scheduler, whose executor raises when it is asked to adopt."""
    s.scheduler.finish()
    s.begin_scheduler()
    s.one.adopts = True
    s.one.raises("try_adopt_task_instances", ConnectionError("the API server does not answer"), times)
    s.step(4)


def recover(s: Scheduling, seconds: float = 40) -> None:
    """Let it work again, and the lane notice."""
    s.one.raises("try_adopt_task_instances", times=0)
    s.pass_time(seconds)


def asked(s: Scheduling) -> int:
    return [method for method, _ in s.one.calls].count("try_adopt_task_instances")


def held(scheduling: Make, word: str = "hold", slots: int = 2) -> Scheduling:
    s = scheduling({"one": slots})
    s.plan(a=word)
    s.begin_run(spec("d", task("a")), "r")
    s.rest()
    return s


def test_it_is_asked_again_when_it_works_again(scheduling: Make) -> None:
    s = held(scheduling)
    (key,) = s.one.launched
    restarted(s)
    assert (asked(s), s.status("one").health) == (1, Health.DEGRADED)
    assert [handed.key for handed in s.memory.handed.values()] == [key], "it takes its slot all the while"
    recover(s)
    assert asked(s) == 2
    assert s.memory.unadopted == []
    assert s.attempts("a")[0].state == "running"


def test_an_end_meanwhile_frees_its_slot(scheduling: Make) -> None:
    """Its executor has never heard of it, so nobody else would."""
    s = held(scheduling, slots=1)
    old = s.one
    restarted(s)
    assert old.end_held("a").accepted
    s.step(2)
    recover(s)
    assert (asked(s), s.memory.handed, s.memory.unadopted) == (1, {}, [])
    assert s.run_to_end(s.begin_run(spec("e", task("b")))) == ["success"]
    s.check_nothing_is_left()


def test_what_never_started_is_handed_over_again_only_when_it_is_known_to_be_gone(scheduling: Make) -> None:
    s = held(scheduling, "wait, success")
    (key,) = s.one.launched
    restarted(s)
    assert s.launches() == []
    s.one.adopts = False
    recover(s)
    assert s.one.launched == [key]
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


def test_an_adopted_one_that_had_not_started_starts_and_reports(scheduling: Make) -> None:
    s = held(scheduling, "wait")
    (key,) = s.one.launched
    s.scheduler.finish()
    s.begin_scheduler()
    s.one.adopts = True
    s.rest()
    s.one._run(key, "success")
    s.rest()
    assert s.launches() == [], "adopted, not launched"
    assert s.one.told == [key]
    assert s.rows(task_attempt)[0].state == "success"


def test_who_never_can_is_left_alone_after_a_while(scheduling: Make) -> None:
    """And its attempts end by themselves, as those of an executor that is gone."""
    s = held(scheduling)
    s.plan(a="success")
    restarted(s)
    s.pass_time(200)
    assert asked(s) == MOST_OFFERS
    assert (s.memory.handed, s.memory.unadopted) == ({}, [])
    s.pass_time(60 + CHORES)
    assert s.history("a") == [(1, 1, "lost"), (1, 2, "success")]


def test_what_an_undone_step_took_over_is_offered_all_the_same(scheduling: Make, monkeypatch: Any) -> None:
    s = held(scheduling)
    s.scheduler.finish()
    s.begin_scheduler()
    s.one.adopts = True
    write, failed = Step.write, []

    def undone(step: Step) -> None:
        if step.claimed and not failed:
            failed.append(step)
            raise GuardRefusedError("somebody was there first")
        write(step)

    monkeypatch.setattr(Step, "write", undone)
    s.pass_time(5)
    assert failed
    assert asked(s) == 1
