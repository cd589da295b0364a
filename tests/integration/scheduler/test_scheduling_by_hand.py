"""Acts by hand on runs that a scheduler holds: marks, starts and deletions; the run goes on, and nothing is left."""

from __future__ import annotations

from runtime.core.states import TaskState
from runtime.db.deleting import delete_dag
from runtime.db.marking import Mark, mark_tasks, start_now
from runtime.db.schema import dag_run
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

CHAIN = (task("first"), task("second", "first"))


def mark(s: Scheduling, task_id: str, state: str, run) -> None:
    wanted = Mark(dag_id="d", run_id=run.run_id, task_id=task_id, state=TaskState(state))
    s.database.transact(lambda c: mark_tasks(c, wanted, now=s.at, actor="ann"))


def begin_now(s: Scheduling, task_id: str, run, **options) -> None:
    given = {"ignore_all": False, "ignore_past": False, "force": False} | options
    s.database.transact(lambda c: start_now(c, "d", run.run_id, task_id, now=s.at, actor="ann", **given))


def running(s: Scheduling, *tasks, **options):
    s.plan(first="hold")
    run = s.begin_run(spec("d", *(tasks or CHAIN)), **options)
    s.until(lambda: "first" in s.one.held, "first runs")
    return run


def test_a_running_one_marked_success_is_stopped_and_what_waits_for_it_runs(s: Scheduling) -> None:
    run = running(s)
    mark(s, "first", "success", run)
    assert s.run_to_end(run) == ["success"]
    assert not s.one.beat("first").go_on
    s.one.end_held("first", "failed")
    assert s.states(run.id) == {"first": "success", "second": "success"}
    assert s.history("first") == [(1, 1, "failed")]
    s.check_nothing_is_left()


def test_one_marked_while_it_runs_and_never_heard_of_again_ends_in_bounded_time(s: Scheduling) -> None:
    """Its run has ended and nobody holds it: else the attempt would stay *running* for ever."""
    run = running(s, task("first"))
    mark(s, "first", "failed", run)
    assert s.run_to_end(run) == ["failed"]
    key = s.one.held.pop("first")
    s.one.lost(key, "its host is gone")
    s.pass_time(150.0, by=5.0)
    assert s.history("first") == [(1, 1, "lost")]
    s.check_nothing_is_left()


def test_lost_at_once_after_a_mark_the_mark_stands(scheduling) -> None:
    """Of a local executor: its process is looked for, and then the attempt is over, without a second try."""
    s = scheduling({"one": 4}, local=["one"])
    run = running(s)
    key = s.one.held["first"]
    s.one.lost(key, "its worker died")
    mark(s, "first", "skipped", run)
    assert s.run_to_end(run) == ["success"]
    assert s.states(run.id) == {"first": "skipped", "second": "skipped"}
    s.pass_time(150.0, by=5.0)
    s.check_nothing_is_left()


def test_an_ended_run_is_judged_anew(s: Scheduling) -> None:
    s.plan(first="failed")
    run = s.begin_run(spec("d", *CHAIN))
    assert s.run_to_end(run) == ["failed"]
    mark(s, "first", "success", run)
    assert s.run_to_end(run) == ["success"]
    assert s.launches() == ["first", "second"]
    mark(s, "second", "failed", run)
    assert s.run_to_end(run) == ["failed"]
    s.check_nothing_is_left()


def test_one_started_by_hand_runs_whatever_its_upstream_is(s: Scheduling) -> None:
    run = running(s)
    begin_now(s, "second", run, ignore_all=True)
    s.until(lambda: s.states(run.id)["second"] == "success", "second has run")
    assert s.states(run.id)["first"] == "running"
    s.one.end_held("first")
    assert s.run_to_end(run) == ["success"]
    assert s.launches() == ["first", "second"]
    s.check_nothing_is_left()


def test_one_started_again_by_force_runs_once_more_alone(s: Scheduling) -> None:
    run = s.begin_run(spec("d", *CHAIN))
    assert s.run_to_end(run) == ["success"]
    begin_now(s, "first", run, force=True)
    assert s.run_to_end(run) == ["success"]
    assert s.launches() == ["first", "second", "first"]
    s.check_nothing_is_left()


def test_a_deleted_dag_troubles_no_scheduler_and_a_new_run_of_the_same_row_goes_well(s: Scheduling) -> None:
    """SQLite gives the row id of the deleted run to the next one."""
    run = s.begin_run(spec("d", *CHAIN))
    s.run_to_end(run)
    s.database.transact(lambda c: delete_dag(c, "d", now=s.at, actor="ann"))
    s.step(4)
    again = s.begin_run(spec("d", *CHAIN))
    assert s.run_to_end(again) == ["success"]
    assert [row.id for row in s.rows(dag_run)] == [again.id]
    s.check_nothing_is_left()
