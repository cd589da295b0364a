"""Runs from trigger to end: order, retries, rules, limits, priorities, pauses, routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.core.clock import SECOND
from runtime.db.schema import dag_run, event, task_instance
from tests.database.builders import DAY, HOURLY, START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]


def test_a_dag_runs_to_success_in_order(s: Scheduling) -> None:
    run = s.begin_run(spec("d", task("a"), task("b", "a"), task("c", "a"), task("e", "b", "c")))
    assert s.run_to_end(run) == ["success"]
    assert s.launches()[0] == "a"
    assert s.launches()[-1] == "e"
    assert sorted(s.launches()) == ["a", "b", "c", "e"]
    row = s.run(run.id)
    assert (row.start_date, row.end_date, row.lease_owner, row.lease_epoch) == (START, START, None, 1)
    story = [f"{r.old_state}>{r.new_state}" for r in s.rows(event, event.c.task_instance_id.is_(None))]
    assert story == ["None>queued", "queued>running", "running>success"]
    s.check_nothing_is_left()


def test_failure_of_a_leaf_fails_the_run(s: Scheduling) -> None:
    s.plan(b="failed")
    run = s.begin_run(spec("d", task("a"), task("b", "a"), task("c", "b"), task("clean", "b", trigger_rule="all_done")))
    assert s.run_to_end(run) == ["failed"]
    assert s.states(run.id) == {"a": "success", "b": "failed", "c": "upstream_failed", "clean": "success"}
    s.check_nothing_is_left()


def test_skipped_goes_down_and_the_run_is_a_success(s: Scheduling) -> None:
    s.plan(a="skipped")
    run = s.begin_run(spec("d", task("a"), task("b", "a"), task("c", "b", trigger_rule="none_failed")))
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == {"a": "skipped", "b": "skipped", "c": "success"}


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_join_below_what_ended_without_running_runs_once(s: Scheduling, outcome: str) -> None:
    """Both ways to the join end in the same moment."""
    s.plan(a=outcome)
    tasks = (task("a"), task("b", "a"), task("c", "a"), task("join", "b", "c", trigger_rule="all_done"))
    assert s.run_to_end(s.begin_run(spec("d", *tasks))) == ["success"]
    assert s.launches() == ["a", "join"]


def test_tasks_with_nothing_to_execute_need_no_executor(s: Scheduling) -> None:
    run = s.begin_run(spec("d", task("a", empty=True), task("b", "a", empty=True), task("c", "a", "b")))
    assert s.run_to_end(run) == ["success"]
    assert s.launches() == ["c"]
    assert s.attempts("a") == []


def test_command_that_knows_nothing_of_us_succeeds_by_its_exit_code(s: Scheduling) -> None:
    s.plan(a="exit 0")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    assert s.run_to_end(run) == ["success"]
    assert s.history("a") == [(1, 1, "success")]
    s.check_nothing_is_left()


# -- retries


def test_retries_wait_for_their_delay(s: Scheduling) -> None:
    s.plan(a="failed, failed, success")
    run = s.begin_run(spec("d", task("a", retries=2)))
    s.rest()
    assert s.states(run.id) == {"a": "up_for_retry"}
    assert s.ti("a").retry_at == START + 60 * SECOND
    s.pass_time(59)
    assert s.launches() == ["a"]
    s.pass_time(1)
    assert s.launches() == ["a", "a"]
    s.pass_time(60)
    assert s.run(run.id).state == "success"
    assert s.history("a") == [(1, 1, "failed"), (2, 1, "failed"), (3, 1, "success")]
    s.check_nothing_is_left()


def test_retries_come_to_an_end(s: Scheduling) -> None:
    s.plan(a="failed")
    run = s.begin_run(spec("d", task("a", retries=1)))
    s.pass_time(200, by=10)
    assert (s.run(run.id).state, s.history("a")) == ("failed", [(1, 1, "failed"), (2, 1, "failed")])


def test_the_loop_sleeps_no_longer_than_until_the_next_retry(s: Scheduling) -> None:
    s.plan(a="failed, success")
    s.begin_run(spec("d", task("a", retries=1)))
    s.rest()
    s.forward(59.75)
    s.step()
    assert s.scheduler.pause == pytest.approx(0.25)


def test_retry_timer_survives_a_restart(s: Scheduling) -> None:
    s.plan(a="failed, success")
    run = s.begin_run(spec("d", task("a", retries=1)))
    s.rest()
    s.scheduler.finish()
    s.begin_scheduler()
    s.rest()
    assert s.states(run.id) == {"a": "up_for_retry"}
    s.pass_time(60)
    assert s.run(run.id).state == "success"


def test_retry_timer_survives_a_reload(s: Scheduling) -> None:
    s.plan(a="failed, success", b="hold")
    run = s.begin_run(spec("d", task("a", retries=1), task("b")))
    s.rest()
    s.clear("d", task_regex="b")
    s.rest()
    s.one.end_held("b", "failed")
    s.plan(b="success")
    s.pass_time(60)
    assert s.run(run.id).state == "success"


# -- dagrun_timeout


def test_run_that_takes_too_long_fails_and_its_tasks_are_stopped(s: Scheduling) -> None:
    s.plan(a="hold", b="wait")
    run = s.begin_run(spec("d", task("a"), task("b"), task("c", "a"), dagrun_timeout=100.0))
    s.rest()
    s.pass_time(99, by=9)
    assert s.run(run.id).state == "running"
    s.pass_time(1)
    row = s.run(run.id)
    assert (row.state, row.reason) == ("failed", "dagrun_timeout: the run took longer than 100 s")
    assert set(s.states(run.id).values()) == {"skipped"}
    assert [a.state for name in "ab" for a in s.attempts(name)] == ["lost", "lost"]
    revoked = [key.task_id for method, key in s.one.calls if method == "revoke_task" and key]
    assert sorted(revoked) == ["a", "b"]
    assert not s.one.beat("a").go_on
    s.check_nothing_is_left()


def test_run_that_ends_in_the_very_moment_of_its_timeout_ends_once(s: Scheduling) -> None:
    """The last report and the timer come in one step."""
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), dagrun_timeout=100.0))
    s.rest()
    s.one.end_held("a")
    s.forward(100)
    s.rest()
    assert s.run(run.id).state == "success"
    s.check_nothing_is_left()


def test_timeout_counts_from_the_runs_start_across_restarts(s: Scheduling) -> None:
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), dagrun_timeout=100.0))
    s.rest()
    s.pass_time(60, by=10)
    s.scheduler.finish()
    s.begin_scheduler()
    s.pass_time(39, by=13)
    assert s.run(run.id).state == "running"
    s.pass_time(1)
    assert s.run(run.id).state == "failed"


# -- limits


def test_pool_is_never_exceeded_and_never_idle(s: Scheduling) -> None:
    s.set_pool("small", 3)
    s.plan(**{f"t{n}": "hold" for n in range(8)})
    run = s.begin_run(spec("d", *[task(f"t{n}", pool="small", pool_slots=1 + n % 2) for n in range(8)]))
    while not s.finished(run):
        s.rest()
        used = sum(row.pool_slots for row in s.rows(task_instance, task_instance.c.state == "running"))
        waiting = [r.pool_slots for r in s.rows(task_instance, task_instance.c.state == "scheduled")]
        assert not waiting or used + min(waiting) > 3, "a slot is free, and somebody waits for one"
        s.one.end_held(next(iter(s.one.held)))
        s.rest()
    s.check_nothing_is_left()


def test_slot_of_a_lost_attempt_is_free_at_once(s: Scheduling) -> None:
    """No chore has to find out ten seconds later."""
    s.set_pool("small", 1)
    s.plan(a="lost, lost, success")
    run = s.begin_run(spec("d", task("a", pool="small"), task("b", pool="small")))
    assert s.run_to_end(run) == ["success"]
    assert s.at == START


def test_slot_of_a_refused_attempt_is_free_at_once(s: Scheduling) -> None:
    s.set_pool("small", 1)
    s.plan(a="refused")
    run = s.begin_run(spec("d", task("a", pool="small", priority_weight=9), task("b", pool="small")))
    assert s.run_to_end(run) == ["failed"]
    assert (s.at, s.states(run.id)["b"]) == (START, "success")


def test_pool_that_is_made_larger_is_noticed(s: Scheduling) -> None:
    s.set_pool("small", 0)
    run = s.begin_run(spec("d", task("a", pool="small")))
    s.pass_time(30, by=5)
    assert s.launches() == []
    s.set_pool("small", 1)
    s.pass_time(10)
    assert s.run(run.id).state == "success"


def test_max_active_tasks_holds_for_each_run(s: Scheduling) -> None:
    s.plan(**{f"t{n}": "hold" for n in range(6)})
    dag = spec("d", *[task(f"t{n}") for n in range(6)], max_active_tasks=2)
    runs = [s.begin_run(dag, name) for name in ("one", "two")]
    s.rest()
    assert len(s.launches()) == 4
    for run in runs:
        assert sorted(s.states(run.id).values()) == ["running"] * 2 + ["scheduled"] * 4


def test_max_active_runs_holds_and_the_next_begins_at_once(s: Scheduling) -> None:
    dag = spec("d", task("a"), max_active_runs=2)
    runs = [s.begin_run(dag, f"r{n}", now=START + n) for n in range(7)]
    assert s.run_to_end(*runs) == ["success"] * 7
    assert [key.run_id for key in s.one.launched] == [f"r{n}" for n in range(7)]
    s.check_nothing_is_left()


def test_a_flood_on_one_executor_uses_no_slot_of_another(scheduling: Make) -> None:
    """Invariant 7: ``[core] parallelism`` is what each executor gets, not a sum that the first one may use up."""
    s = scheduling({"one": 4, "two": 4})
    s.plan(**{f"t{n}": "hold" for n in range(12)}, late="hold")
    s.begin_run(spec("flood", *[task(f"t{n}", executor="one", priority_weight=9) for n in range(12)]))
    s.rest()
    s.begin_run(spec("other", task("late", executor="two")))
    s.rest()
    assert (len(s.launches("one")), len(s.launches("two"))) == (4, 1)


def test_executors_own_parallelism_is_never_exceeded(scheduling: Make) -> None:
    s = scheduling({"one": 3, "two": 0})
    s.plan(**{f"t{n}": "hold" for n in range(12)})
    s.begin_run(spec("d", *[task(f"t{n}", executor=("one", "two")[n % 2]) for n in range(12)]))
    s.rest()
    assert (len(s.launches("one")), len(s.launches("two"))) == (3, 6)


# -- priority


def test_highest_priority_first_then_the_older_run(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    tasks = [task("low"), task("high", priority_weight=9), task("middle", priority_weight=5)]
    runs = [s.begin_run(spec("d", *tasks), name, now=START + n) for n, name in enumerate(("old", "young"))]
    assert s.run_to_end(*runs) == ["success"] * 2
    assert [f"{key.task_id} {key.run_id}" for key in s.one.launched] == [
        "high old",
        "high young",
        "middle old",
        "middle young",
        "low old",
        "low young",
    ]


def test_flood_on_one_executor_delays_nobody_on_another(scheduling: Make) -> None:
    s = scheduling({"flooded": 2, "other": 2})
    s.plan(**{f"t{n}": "hold" for n in range(50)})
    s.begin_run(spec("flood", *[task(f"t{n}", priority_weight=100) for n in range(50)], max_active_tasks=100))
    s.rest()
    run = s.begin_run(spec("d", task("a", executor="other"), task("b", "a", executor="other")))
    assert s.run_to_end(run) == ["success"]
    assert len(s.launches("flooded")) == 2


# -- pause


def test_paused_dag_finishes_what_runs_and_starts_nothing(s: Scheduling) -> None:
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    s.pause("d")
    s.rest()
    s.one.end_held("a")
    s.pass_time(30, by=5)
    assert (s.states(run.id), s.launches()) == ({"a": "success", "b": "scheduled"}, ["a"])
    s.pause("d", False)
    assert s.run_to_end(run) == ["success"]
    s.check_nothing_is_left()


def test_paused_dag_starts_no_queued_run(s: Scheduling) -> None:
    run = s.begin_run(spec("d"))
    s.pause("d")
    s.pass_time(30, by=5)
    assert s.run(run.id).state == "queued"
    s.pause("d", False)
    assert s.run_to_end(run) == ["success"]


# -- schedules


def test_scheduled_runs_are_created_and_run(s: Scheduling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.db.dags.clock_now", s.clock)
    s.save(spec("d", timetable=HOURLY, start_date=START - DAY, catchup=True, max_active_runs=2))
    s.until(lambda: len(s.rows(dag_run, dag_run.c.state == "success")) == 24, "a day's runs")
    dates = [row.logical_date for row in s.runs("d")]
    assert dates == [START - DAY + n * 3600 * SECOND for n in range(24)]
    s.pass_time(3600, by=100)
    assert len(s.runs("d")) == 25
    s.check_nothing_is_left()


# -- routes


def test_executor_and_reason_are_kept_with_each_attempt(scheduling: Make) -> None:
    s = scheduling({"one": 2, "two": 2})
    run = s.begin_run(spec("d", task("a"), task("b", executor="two", executor_source="default_args")))
    assert s.run_to_end(run) == ["success"]
    found = {name: [(a.executor, a.executor_reason) for a in s.attempts(name)] for name in ("a", "b")}
    assert found == {
        "a": [("one", "default: first in [core] executor")],
        "b": [("two", "default_args: executor='two'")],
    }
    assert (s.launches("one"), s.launches("two")) == (["a"], ["b"])


def test_missing_executor_holds_with_a_reason(scheduling: Make) -> None:
    s = scheduling(missing="hold")
    run = s.begin_run(spec("d", task("a", executor="gone"), task("b")))
    s.pass_time(30, by=5)
    row = s.ti("a")
    assert (row.state, s.states(run.id)["b"]) == ("scheduled", "success")
    assert row.reason == "executor 'gone' is not configured: unknown executor 'gone'; configured: one"
    s._parallelism["gone"] = 1
    s.scheduler.finish()
    s.begin_scheduler()
    assert s.run_to_end(run) == ["success"]
    assert s.launches("gone") == ["a"]
    s.check_nothing_is_left()


def test_missing_executor_reroutes_with_a_reason(scheduling: Make) -> None:
    s = scheduling(missing="reroute")
    run = s.begin_run(spec("d", task("a", executor="gone")))
    assert s.run_to_end(run) == ["success"]
    (attempt,) = s.attempts("a")
    assert (attempt.executor, attempt.executor_reason) == (
        "one",
        "rerouted: executor 'gone' is not configured ([core] missing_executor)",
    )


def test_missing_executor_fails_with_a_reason(scheduling: Make) -> None:
    s = scheduling(missing="fail")
    run = s.begin_run(spec("d", task("a", executor="gone", retries=3), task("b", "a")))
    assert s.run_to_end(run) == ["failed"]
    row = s.ti("a")
    assert (row.state, row.reason) == (
        "failed",
        "executor 'gone' is not configured: unknown executor 'gone'; configured: one",
    )
    s.check_nothing_is_left()


def test_executor_is_told_of_reports_and_may_free_the_slot(scheduling: Make) -> None:
    """Its backend never says that these ended; still more tasks run than it has slots."""
    s = scheduling({"one": 2})
    names = [f"t{number}" for number in range(7)]
    s.plan(**dict.fromkeys(names, "unseen"))
    run = s.begin_run(spec("d", *(task(name) for name in names)))
    assert s.run_to_end(run) == ["success"]
    assert sorted(key.task_id for key in s.one.told) == names
    s.check_nothing_is_left()


def test_executor_is_told_once_of_each_start(s: Scheduling) -> None:
    s.plan(a="hold", b="wait")
    s.begin_run(spec("d", task("a"), task("b")))
    s.rest()
    s.pass_time(10)
    assert [key.task_id for key in s.one.told_of_starts] == ["a"]


def test_the_timer_of_a_run_that_is_over_wakes_nobody_twice(scheduling: Make) -> None:
    s = scheduling({"one": 1})
    s.begin_run(spec("d", task("a"), dagrun_timeout=1000.0), "r")
    s.rest()
    due = s.memory.timers.next_due
    assert due is not None
    s.at = due - SECOND // 2
    s.scheduler.step(hinted=True)
    s.at = due + 1
    s.scheduler.step()
    s.scheduler.step()
    assert s.scheduler.pause > 0
