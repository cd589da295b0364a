"""Operators' standing orders: followed within a second by every scheduler, over restarts, and kept as a record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scheduling import Scheduling

from runtime.db.orders import Mode, give_mode, give_parallelism
from runtime.db.schema import executor_order, executor_status
from runtime.scheduler.health import Health
from tests.database.builders import spec, task

Make = Callable[..., Scheduling]


def order(s: Scheduling, mode: Mode | None = None, parallelism: int | None = None, name: str = "one") -> None:
    with s.database.write() as connection:
        if mode is not None:
            give_mode(connection, name, mode, at=s.at, actor="ann")
        else:
            give_parallelism(connection, name, parallelism, at=s.at, actor="ann")


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.DRAINING])
def test_nothing_new_is_taken_until_it_may_again(scheduling: Make, mode: Mode) -> None:
    s = scheduling({"one": 4, "two": 4})
    s.plan(runs="hold")
    first = s.begin_run(spec("d", task("runs")))
    s.rest()
    order(s, mode)
    s.forward(1)
    s.step()
    assert (s.shown("one").health, s.shown("one").reason) == (str(mode), f"{mode} by ann")
    second = s.begin_run(spec("e", task("waits"), task("elsewhere", executor="two")))
    s.pass_time(20, by=5)
    assert s.states(second.id) == {"waits": "scheduled", "elsewhere": "success"}
    s.one.end_held("runs")
    assert s.run_to_end(first) == ["success"]
    order(s, Mode.ACTIVE)
    assert s.run_to_end(second) == ["success"]
    assert s.shown("one").health == "healthy"


def test_tasks_with_another_executor_go_there(scheduling: Make) -> None:
    s = scheduling({"one": 4, "two": 4})
    order(s, Mode.DRAINING)
    run = s.begin_run(spec("d", task("a", executor="one", executor_fallback=("two",))))
    assert s.run_to_end(run) == ["success"]
    (attempt,) = s.attempts("a")
    assert (attempt.executor, attempt.executor_reason) == (
        "two",
        "task: executor=['one', 'two']; fallback: one is draining (draining by ann)",
    )


def test_orders_stand_over_a_restart_and_are_acknowledged(scheduling: Make) -> None:
    s = scheduling({"one": 4})
    order(s, Mode.PAUSED)
    s.scheduler.finish()
    s.begin_scheduler()
    s.rest()
    (given,) = s.rows(executor_order)
    (row,) = s.rows(executor_status, executor_status.c.scheduler_id == s.me.id)
    assert (row.order_id, row.health, given.actor) == (given.id, "paused", "ann")


def test_idle_scheduler_acknowledges_within_a_second(scheduling: Make) -> None:
    s = scheduling({"one": 4})
    s.rest()
    order(s, Mode.PAUSED)
    s.forward(1)
    s.step()
    assert s.shown("one").order_id == s.rows(executor_order)[-1].id


def test_parallelism_is_changed_both_ways_and_back(scheduling: Make) -> None:
    s = scheduling({"one": 2})
    s.plan(**{f"t{n}": "hold" for n in range(9)})
    run = s.begin_run(spec("d", *(task(f"t{n}") for n in range(9))))
    s.rest()
    s._parallelism["one"] = 9  # what the invariants are checked against
    for slots, running in ((5, 5), (1, 5), (None, 5)):
        order(s, parallelism=slots)
        s.pass_time(3, by=1)
        assert s.status("one").parallelism == (slots or 2)
        assert len(s.one.held) == running
    for task_id in list(s.one.held)[:4]:
        s.one.end_held(task_id)
    s.rest()
    assert len(s.one.held) == 2, "as configured again"
    while s.one.held:
        s.one.end_held(next(iter(s.one.held)))
        s.rest()
    assert s.run_to_end(run) == ["success"]
    assert len(s.rows(executor_order)) == 3, "what was said is kept"


def test_order_for_an_executor_that_is_sick_does_not_hide_why(s: Scheduling) -> None:
    order(s, Mode.PAUSED)
    s.rest()
    s.one.raises("sync", ConnectionError("no broker"))
    for _ in range(3):
        s.forward(40)
        s.turn()
    s.step()
    assert s.shown("one").health == Health.UNAVAILABLE
    assert "no broker" in s.shown("one").reason
