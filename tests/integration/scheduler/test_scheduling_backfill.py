"""Backfills: in order, a few at a time, each date once, whatever was there before."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.core.errors import HybridError, NotFoundError
from runtime.db.backfills import (
    BackfillOrder,
    backfill_progress,
    cancel_backfill,
    create_backfill,
    list_backfills,
    plan_backfill,
    set_backfill_paused,
)
from runtime.db.reruns import Reprocess
from runtime.db.schema import backfill, backfill_run, dag_run
from tests.database.builders import DAY, HOURLY, START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

LEAN = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HOUR = DAY // 24


def order(hours: int = 4, **options: Any) -> BackfillOrder:
    """Of the hours before START."""
    values: dict[str, Any] = {"dag_id": "d", "from_date": START - hours * HOUR, "to_date": START - HOUR, "conf": {}}
    return BackfillOrder(**(values | options))


def create(s: Scheduling, **options: Any) -> int:
    with s.database.write() as connection:
        return create_backfill(connection, order(**options), s.at)[0]


def save(s: Scheduling, *tasks: Any, **options: Any) -> None:
    """The DAG was made now: of what was before, its schedule has nothing to run."""
    s.save(spec("d", *(tasks or (task("t"),)), **({"timetable": HOURLY, "start_date": START} | options)))


def outcomes(s: Scheduling, identifier: int) -> list[tuple[int, str | None]]:
    rows = s.rows(backfill_run, backfill_run.c.backfill_id == identifier)
    return [((row.logical_date - START) // HOUR, row.outcome) for row in rows]


def state(s: Scheduling, identifier: int) -> Any:
    return s.row(backfill, backfill.c.id == identifier)


@pytest.mark.parametrize("backwards", [False, True])
def test_it_makes_each_run_once_in_order_and_is_completed(s: Scheduling, backwards: bool) -> None:
    save(s, max_active_runs=1)
    identifier = create(s, run_backwards=backwards, max_active_runs=1, conf={"x": 1})
    s.until(lambda: state(s, identifier).completed_at, "the backfill is completed")
    runs = s.runs("d")
    assert [run.run_type for run in runs] == ["backfill"] * 4
    assert {(run.state, run.conf, run.backfill_id) for run in runs} == {("success", '{"x": 1}', identifier)}
    hours = [(run.logical_date - START) // HOUR for run in runs]
    assert hours == ([-1, -2, -3, -4] if backwards else [-4, -3, -2, -1])
    assert [run.data_interval_end - run.logical_date for run in runs] == [HOUR] * 4
    assert outcomes(s, identifier) == [(hour, "made") for hour in hours]
    s.check_nothing_is_left()


def test_its_own_limit_holds_and_the_dags_does_not_count(s: Scheduling) -> None:
    save(s, max_active_runs=1)
    s.plan(t="hold")
    by_hand = s.trigger("d", "by hand".replace(" ", "_"))
    create(s, hours=6, max_active_runs=3)
    s.rest()
    running = s.rows(dag_run, dag_run.c.state == "running")
    assert sorted(run.run_type for run in running) == ["backfill", "backfill", "backfill", "manual"]
    assert s.run(by_hand.id).state == "running"
    assert len(s.runs("d")) == 4, "the others are made when these end"


@LEAN
@pytest.mark.parametrize(
    ("reprocess", "again"), [(Reprocess.NONE, set()), (Reprocess.FAILED, {-1}), (Reprocess.COMPLETED, {-1, -2})]
)
def test_runs_that_are_there_run_again_as_wanted(s: Scheduling, reprocess: Reprocess, again: set[int]) -> None:
    save(s)
    s.plan(t="failed, success")
    s.run_to_end(s.trigger("d", "bad", logical_date=START - HOUR))
    s.run_to_end(s.trigger("d", "good", logical_date=START - 2 * HOUR))
    with s.database.read() as connection:
        dates = plan_backfill(connection, order(2, reprocess=reprocess), s.at)
    plan = {(one.due.logical_date - START) // HOUR: one for one in dates}
    assert {hour for hour, one in plan.items() if one.outcome is None} == again
    identifier = create(s, hours=2, reprocess=reprocess)
    s.until(lambda: state(s, identifier).completed_at, "the backfill is completed")
    made = {hour for hour, outcome in outcomes(s, identifier) if outcome == "made"}
    assert made == again
    assert {outcome for hour, outcome in outcomes(s, identifier) if hour not in again} <= {"already exists"}
    assert {run.run_id for run in s.runs("d") if run.run_type == "backfill"} == {
        {-1: "bad", -2: "good"}[hour] for hour in again
    }
    assert len(s.runs("d")) == 2


@LEAN
def test_a_run_in_flight_is_left_alone(s: Scheduling) -> None:
    save(s)
    s.plan(t="hold")
    s.trigger("d", "now", logical_date=START - HOUR)
    s.rest()
    s.plan(t="success")
    identifier = create(s, hours=1, reprocess=Reprocess.COMPLETED)
    s.until(lambda: state(s, identifier).completed_at, "the backfill is completed")
    assert outcomes(s, identifier) == [(-1, "in flight")]


@LEAN
def test_pause_makes_no_more_runs_and_cancel_never_will(s: Scheduling) -> None:
    save(s)
    s.plan(t="hold, success")
    identifier = create(s, hours=5, max_active_runs=1)
    s.rest()
    with s.database.write() as connection:
        set_backfill_paused(connection, identifier, True)
    s.one.end_held("t")
    s.rest()
    assert [outcome for _, outcome in outcomes(s, identifier)] == ["made", None, None, None, None]
    with s.database.write() as connection:
        assert backfill_progress(connection, identifier) == {"success": 1, "waiting": 4}
        assert cancel_backfill(connection, identifier, s.at) == 4
    s.pass_time(2)
    with s.database.write() as connection:
        assert backfill_progress(connection, identifier) == {"success": 1, "cancelled": 4}
        assert [(one["made_runs"], one["total_runs"]) for one in list_backfills(connection, "d")] == [(1, 5)]
        with pytest.raises(HybridError, match=rf"backfill {identifier} is over: cancelled at "):
            cancel_backfill(connection, identifier, s.at)


@LEAN
def test_a_backfill_of_a_paused_dag_waits(s: Scheduling) -> None:
    save(s)
    s.pause("d")
    identifier = create(s)
    s.pass_time(2)
    assert s.runs("d") == []
    s.pause("d", paused=False)
    s.until(lambda: state(s, identifier).completed_at, "the backfill is completed")


@LEAN
def test_tasks_that_depend_on_the_past_run_one_after_the_other_and_the_first_is_free(s: Scheduling) -> None:
    save(s, task("t", depends_on_past=True))
    s.plan(t="failed, success")
    s.run_to_end(s.trigger("d", "before", logical_date=START - 5 * HOUR))
    identifier = create(s, hours=4, reprocess=Reprocess.COMPLETED)
    s.until(lambda: state(s, identifier).completed_at, "the backfill is completed")
    assert [run.state for run in s.runs("d")] == ["failed"] + ["success"] * 4


@LEAN
@pytest.mark.parametrize(
    ("options", "dag", "message"),
    [
        ({"from_date": START}, {}, r"--from-date 2026-03-01T12\S+ is after --to-date 2026-03-01T11\S+"),
        ({"from_date": START + HOUR, "to_date": START + DAY}, {}, "--from-date .* is in the future; a backfill makes"),
        ({"dag_id": "e"}, {}, "there is no DAG 'e'"),
        ({"max_active_runs": 0}, {}, "--max-active-runs 0; it must be at least 1"),
        ({}, {"timetable": spec("x").timetable}, "DAG d has schedule None, which tells no dates"),
        ({"from_date": START - HOUR + 1, "to_date": START - 5}, {}, r"DAG d \(@hourly\) has no runs to make from"),
        ({"run_backwards": True, "depends": True}, {}, "tasks with depends_on_past; leave out --run-backwards"),
        ({"depends": True}, {}, "use --reprocess-behavior failed or completed"),
    ],
)
def test_bad_orders_are_told_in_one_line(
    s: Scheduling, options: dict[str, Any], dag: dict[str, Any], message: str
) -> None:
    save(s, task("t", depends_on_past=options.pop("depends", False)), **dag)
    with pytest.raises((HybridError, NotFoundError), match=message) as raised, s.database.write() as connection:
        create_backfill(connection, order(**options), s.at)
    assert "\n" not in str(raised.value)
    assert s.rows(backfill) == []


@LEAN
def test_a_dag_has_one_backfill_at_a_time(s: Scheduling) -> None:
    save(s)
    first = create(s)
    with pytest.raises(HybridError, match=f"DAG d has a backfill under way, {first}; wait for it, or run"):
        create(s)
