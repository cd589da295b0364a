"""``max_active_tis_per_dag`` and ``_per_dagrun`` hold at every committed moment, for two schedulers together too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.core.states import TASK_ACTIVE
from runtime.db.schema import task_instance
from runtime.db.waiting import waiting
from tests.database.builders import router, spec, task
from tests.integration.scheduler.scheduling import MOST_STEPS, Scheduling

LEAN = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def active(s: Scheduling, task_id: str) -> int:
    states = task_instance.c.state.in_(sorted(TASK_ACTIVE))
    return len(s.rows(task_instance, states, task_instance.c.task_id == task_id))


def test_the_limit_of_a_dag_is_global(scheduling: Callable[..., Scheduling]) -> None:
    pair = [scheduling(runs_to_claim=3) for _ in range(2)]
    first = pair[0]
    dag = spec("d", task("free"), task("t", "free", max_active_tis_per_dag=2))
    runs = [first.begin_run(dag, f"r{n}") for n in range(6)]
    seen: list[int] = []
    for one in pair:
        # After each commit, before anything that it handed over runs.
        one.check = lambda: seen.append(active(first, "t"))  # type: ignore[method-assign]
    for number in range(MOST_STEPS):
        if first.finished(*runs):
            break
        pair[number % 2].step()
        if number % 40 == 39:
            for one in pair:
                one.pass_time(10, by=10)
    assert [first.run(run.id).state for run in runs] == ["success"] * 6
    assert max(seen) == 2
    assert all(one.one.launched for one in pair), "both had a share"


@LEAN
def test_one_that_ends_lets_the_next_start_and_why_says_what_it_waits_for(s: Scheduling) -> None:
    s.plan(t="hold")
    runs = [s.begin_run(spec("d", task("t", max_active_tis_per_dag=1)), f"r{n}") for n in range(2)]
    s.rest()
    assert sorted(s.ti("t", run.id).state for run in runs) == ["running", "scheduled"]
    with s.database.read() as connection:
        (facts,) = waiting(connection, "d", "r1", router=router("one"), doubt=lambda _: None, at=s.at, since=0)
    limit = "task limit: 1 of max_active_tis_per_dag = 1 instances of the task are active in all runs"
    assert facts.reasons[0] == limit
    s.one.end_held("t")
    s.until(lambda: s.ti("t", runs[1].id).state == "running", "the second starts at once")
    s.one.end_held("t")
    assert s.run_to_end(*runs) == ["success", "success"]
    s.check_nothing_is_left()


@LEAN
def test_the_limit_of_a_run_does_not_touch_other_runs(s: Scheduling) -> None:
    s.plan(t="hold")
    runs = [s.begin_run(spec("d", task("t", max_active_tis_per_dagrun=1)), f"r{n}") for n in range(2)]
    s.rest()
    assert [s.ti("t", run.id).state for run in runs] == ["running", "running"]


@LEAN
def test_a_lost_attempt_gives_its_place_back_in_the_same_step(s: Scheduling) -> None:
    """The database still counts it when its successor is chosen."""
    s.plan(t="lost, success")
    run = s.begin_run(spec("d", task("t", max_active_tis_per_dag=1)))
    assert s.run_to_end(run) == ["success"]
    assert s.history("t") == [(1, 1, "lost"), (1, 2, "success")]
