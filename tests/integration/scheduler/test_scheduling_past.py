"""``depends_on_past`` and ``wait_for_downstream``: a run's task waits for the run before, by logical date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.core.specs import DagSpec
from runtime.db.runs import CreatedRun
from runtime.db.schema import dag_run, run_inbox
from runtime.db.waiting import waiting
from tests.database.builders import DAY, START, router, spec, task
from tests.integration.scheduler.scheduling import Scheduling

LEAN = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""What no kind of database can change."""


def dated(s: Scheduling, day: int, **options: Any) -> CreatedRun:
    return s.trigger("d", f"day{day}", logical_date=START + day * DAY, **options)


def dag_of(*tasks: Any, **options: Any) -> DagSpec:
    return spec("d", *(tasks or (task("t", depends_on_past=True), task("free"))), **options)


def why(s: Scheduling, run_id: str, task_id: str) -> list[str]:
    with s.database.read() as connection:
        found = waiting(connection, "d", run_id, router=router("one"), doubt=lambda _: None, at=s.at, since=0)
    return next(one.reasons for one in found if one.task_id == task_id)


def test_a_task_waits_until_it_has_succeeded_in_the_run_before_and_says_so(s: Scheduling) -> None:
    s.save(dag_of())
    s.plan(t="hold, success")
    first, second = dated(s, 0), dated(s, 1)
    s.rest()
    assert s.states(second.id) == {"t": "none", "free": "success"}
    assert why(s, "day1", "t") == ["depends_on_past: t is running in the run before, day0"]
    s.one.end_held("t")
    assert s.run_to_end(first, second) == ["success", "success"]
    s.check_nothing_is_left()


@LEAN
def test_the_wake_up_needs_no_chores(s: Scheduling) -> None:
    """The end in the run before leaves a row in the inbox of the next, which is read without any time going by."""
    s.save(dag_of())
    s.plan(t="hold")
    dated(s, 0)
    second = dated(s, 1)
    s.rest()
    s.scheduler._do_chores = lambda _: pytest.fail("chores")  # type: ignore[method-assign]
    s.one.end_held("t")
    s.until(lambda: s.ti("t", second.id).state == "running", "t runs in the second run")


@LEAN
@pytest.mark.parametrize(("outcome", "state"), [("skipped", "success"), ("failed", "none")])
def test_skipped_is_good_enough_and_failed_is_not(s: Scheduling, outcome: str, state: str) -> None:
    s.save(dag_of(task("t", depends_on_past=True)))
    s.plan(t=f"{outcome}, success")
    dated(s, 0)
    second = dated(s, 1)
    s.pass_time(12)
    assert s.ti("t", second.id).state == state


@LEAN
def test_clearing_the_failed_task_of_the_run_before_lets_the_next_go_on(s: Scheduling) -> None:
    s.save(dag_of(task("t", depends_on_past=True)))
    s.plan(t="failed, success")
    first, second = dated(s, 0), dated(s, 1)
    s.rest()
    assert (s.run(first.id).state, s.ti("t", second.id).state) == ("failed", "none")
    s.clear("d", run_id="day0")
    assert s.run_to_end(first, second) == ["success", "success"]


@LEAN
def test_wait_for_downstream_waits_for_the_tasks_directly_below_too(s: Scheduling) -> None:
    s.save(dag_of(task("t", depends_on_past=True, wait_for_downstream=True), task("below", "t")))
    s.plan(below="hold, success")
    first, second = dated(s, 0), dated(s, 1)
    s.rest()
    assert s.ti("t", second.id).state == "none"
    assert why(s, "day1", "t") == ["wait_for_downstream: below is running in the run before, day0"]
    s.one.end_held("below")
    assert s.run_to_end(first, second) == ["success", "success"]


@LEAN
@pytest.mark.parametrize(("ignored", "state"), [(True, "success"), (False, "none")])
def test_a_task_that_no_earlier_run_has_had_starts_unless_told_otherwise(
    s: Scheduling, ignored: bool, state: str
) -> None:
    s.save(dag_of(task("other")))
    assert s.run_to_end(dated(s, 0)) == ["success"]
    s.save(dag_of(task("other"), task("t", depends_on_past=True, ignore_first_depends_on_past=ignored)))
    second = dated(s, 1)
    s.rest()
    assert s.ti("t", second.id).state == state


@LEAN
def test_a_run_before_that_has_not_begun_holds_and_the_first_run_of_all_does_not(s: Scheduling) -> None:
    s.save(dag_of(task("t", depends_on_past=True), max_active_runs=1))
    first = dated(s, 0)
    with s.database.write() as connection:
        connection.execute(dag_run.update().values(run_after=s.at + DAY))
    second = dated(s, 1)
    s.rest()
    assert s.run(first.id).state == "queued", "the second, of an earlier run_after, has taken the only place"
    assert s.ti("t", second.id).state == "none"
    assert why(s, "day1", "t") == ["depends_on_past: t has not run in the run before, day0"]


@LEAN
def test_runs_by_hand_count_as_runs_before_unless_the_dag_catches_up(s: Scheduling) -> None:
    s.save(dag_of(task("t", depends_on_past=True), catchup=True))
    s.plan(t="failed, success")
    s.run_to_end(dated(s, 0))
    second = dated(s, 1)
    assert s.run_to_end(second) == ["success"], "the failed one was made by hand"


@LEAN
def test_news_that_was_missed_is_found_with_the_chores(s: Scheduling) -> None:
    s.save(dag_of())
    s.plan(t="hold, success")
    first, second = dated(s, 0), dated(s, 1)
    s.rest()
    with s.database.write() as connection:
        connection.execute(dag_run.delete().where(dag_run.c.id == first.id))
    s.memory.drop(s.memory.runs[first.id])
    s.pass_time(21)
    assert s.run(second.id).state == "success"


def test_the_owner_of_the_run_before_may_be_another_scheduler(
    scheduling: Callable[..., Scheduling], s: Scheduling
) -> None:
    s.save(dag_of())
    s.plan(t="hold")
    first = dated(s, 0)
    s.rest()
    other = scheduling()
    second = dated(other, 1)
    other.rest()
    assert other.run(second.id).lease_owner == other.me.id != s.run(first.id).lease_owner
    assert other.ti("t", second.id).state == "none"
    s.one.end_held("t")
    s.step(2)
    assert [row.kind for row in other.rows(run_inbox, run_inbox.c.dag_run_id == second.id)] == ["past"]
    other.step(2)
    assert other.ti("t", second.id).state == "success"


@LEAN
def test_a_clear_of_the_run_before_holds_what_has_not_begun(s: Scheduling) -> None:
    """The later run had asked, and had been told that all is well: it asks again."""
    s.save(dag_of(task("a"), task("b", "a", depends_on_past=True)))
    s.plan(a="success, hold", b="success, hold")
    first = dated(s, 0)
    s.rest()
    second = dated(s, 1)
    s.rest()
    s.one.held["second"] = s.one.held.pop("a")
    s.clear("d", run_id="day0")
    s.rest()
    assert s.ti("a", first.id).state == "running", "the first runs again"
    s.one.end_held("second")
    s.rest()
    assert s.ti("b", second.id).state == "none"
