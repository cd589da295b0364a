"""What floods one executor, or one pool, is nobody else's affair; within one, the highest priority goes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.db.engine import Database
from runtime.db.schema import task_attempt, task_instance
from runtime.scheduler.step import DISPATCHES
from tests.database.builders import spec, task
from tests.integration.scheduler.live import MEASUREMENTS, Live, running
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]
READY_TO_LAUNCH_MILLISECONDS = 30.0
BACKLOG = 1_000


def flood(s: Scheduling, count: int, *, executor: str = "one", word: str = "hold", **options) -> None:
    """``count`` ready tasks of the highest priority for ``executor``, in a pool without a limit."""
    s.set_pool("flood", -1)
    names = [f"flood{number}" for number in range(count)]
    s.plan(**dict.fromkeys(names, word))
    tasks = [task(name, executor=executor, priority_weight=100, pool="flood", **options) for name in names]
    s.begin_run(spec("flood", *tasks, max_active_tasks=count), "flood")


def test_a_full_executor_keeps_nothing_of_another(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2})
    flood(s, 50)
    s.rest()
    run = s.begin_run(spec("d", task("a", executor="two"), task("b", "a", executor="two")))
    assert s.run_to_end(run) == ["success"]
    assert s.memory.occupied() == {"one": 2}


def test_a_flood_on_an_executor_without_a_limit_takes_no_step_from_another(scheduling: Make) -> None:
    """A step hands each executor its share: what is ready elsewhere goes with it, whatever its priority."""
    s = scheduling({"one": 0, "two": 2})
    flood(s, DISPATCHES * 2 + 1)
    s.begin_run(spec("d", task("a", executor="two")))
    s.until(lambda: s.launches("one"), "the flood has begun")
    assert len(s.launches("one")) == DISPATCHES
    assert s.launches("two") == ["a"]
    s.rest()
    assert len(s.launches("one")) == DISPATCHES * 2 + 1, "the rest follows without being asked"


def test_the_highest_priority_goes_first_in_an_executor_whatever_its_pool_and_run(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    for name, slots in (("p", 1), ("q", 3)):
        s.set_pool(name, slots)
    weights = {"e": 1, "b": 7, "d": 2, "a": 9, "c": 4}
    for dag_id, names in (("x", "eba"), ("y", "dc")):
        tasks = [task(f"{n}_", priority_weight=weights[n], pool="p" if n in "ad" else "q") for n in names]
        s.begin_run(spec(dag_id, *tasks))
    s.rest()
    assert s.launches() == ["a_", "b_", "c_", "d_", "e_"]


def test_a_full_pool_steps_aside_for_others_with_less_priority(scheduling: Make) -> None:
    """The head of the line that cannot start holds up nobody who can (apache/airflow #45636)."""
    s = scheduling({"one": 16})
    s.set_pool("small", 1)
    s.plan(**{f"t{n}_": "hold" for n in range(9)})
    tasks = [task(f"t{n}_", priority_weight=50, pool="small") for n in range(9)]
    s.begin_run(spec("crowd", *tasks))
    s.rest()
    assert s.run_to_end(s.begin_run(spec("d", task("a")))) == ["success"]
    assert len(s.one.held) == 1
    s.one.end_held(next(iter(s.one.held)))
    s.rest()
    assert len(s.one.held) == 1, "the next of the crowd, at once"


@pytest.mark.timed
def test_a_task_for_another_starts_at_once_behind_a_thousand_that_wait(database: Database) -> None:
    """From ready to being launched, each of a chain of 30, while 1,000 wait for a full executor."""
    with running(database, {"well": 0, "full": 4}) as live:
        live.executors["well"].instant = True
        live.set_pool("flood", -1)
        backlog = [task(f"t{n}_", executor="full", priority_weight=100, pool="flood") for n in range(BACKLOG)]
        live.begin_runs(spec("flood", *backlog, max_active_tasks=BACKLOG))
        live.drive(lambda: len(live.executors["full"].launched) == 4, "the executor is full")
        found: list[float] = []
        while len(found) < MEASUREMENTS and (not found or found[-1] > READY_TO_LAUNCH_MILLISECONDS):
            found.append(slowest_of_a_chain(live, len(found)))
        print(f"ready to launch, slowest of 30, behind {BACKLOG}: {found} ms")
        assert min(found) <= READY_TO_LAUNCH_MILLISECONDS


def slowest_of_a_chain(live: Live, number: int) -> float:
    launched = live.executors["well"].launched
    launched.clear()
    live.run_to_end(live.begin_runs(spec(f"chain{number}", *[task(f"t{n}_", *[f"t{n - 1}_"][:n]) for n in range(30)])))
    with live.database.read() as connection:
        query = task_attempt.join(task_instance, task_instance.c.id == task_attempt.c.task_instance_id).select()
        rows = connection.execute(query.with_only_columns(task_attempt.c.id, task_instance.c.scheduled_at)).all()
    return max((launched[row.id] - row.scheduled_at) / 1000 for row in rows if row.id in launched)
