"""Schedules that are no intervals, as the scheduler makes runs of them."""

from __future__ import annotations

import itertools

import pytest

from runtime.core.clock import SECOND
from runtime.core.specs import TimetableSpec
from tests.database.builders import DAY, START, spec, task
from tests.integration.scheduler.scheduling import Scheduling

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HOUR = DAY // 24


@pytest.fixture(autouse=True)
def _same_clock(monkeypatch: pytest.MonkeyPatch, s: Scheduling) -> None:
    """The DAG store tells the next run by the test's clock, too."""
    monkeypatch.setattr("runtime.db.dags.clock_now", s.clock)


def dates(s: Scheduling) -> list[int]:
    return [(run.logical_date - START) // SECOND for run in s.runs("d")]


@pytest.mark.parametrize(("start_date", "expected"), [(None, 0), (START - 9 * DAY, -9 * 86_400)])
def test_once_is_one_run_whatever_happens_later(s: Scheduling, start_date: int | None, expected: int) -> None:
    dag = spec("d", timetable=TimetableSpec(kind="once", summary="@once"), start_date=start_date)
    s.save(dag)
    s.pass_time(5)
    s.save(dag, file_hash="changed")
    s.pass_time(5)
    assert [(run.state, run.run_type) for run in s.runs("d")] == [("success", "scheduled")]
    assert dates(s)[0] in (expected, expected + 1), "the scheduler looks once a second"


def test_continuous_is_one_run_after_the_other_without_a_gap(s: Scheduling) -> None:
    s.plan(only="hold")
    s.save(spec("d", timetable=TimetableSpec(kind="continuous", summary="@continuous"), max_active_runs=1))
    for number in range(1, 4):
        s.pass_time(2)
        assert [run.state for run in s.runs("d")] == ["success"] * (number - 1) + ["running"]
        s.one.end_held("only")
    s.pass_time(1)
    runs = s.runs("d")
    for before, after in itertools.pairwise(runs):
        assert after.data_interval_start in (before.data_interval_end, before.logical_date + 1)
        assert after.logical_date > before.logical_date
    s.pause("d")
    s.one.end_held("only")
    s.pass_time(5)
    assert len(s.runs("d")) == len(runs), "paused"


def test_a_trigger_without_a_start_date_fires_at_the_next_tick_and_not_at_the_last(s: Scheduling) -> None:
    """START is noon; asked again just after one o'clock, one o'clock is still due."""
    arguments = {"crons": ["0 * * * *"], "interval": 0.0, "run_immediately": False}
    s.at += 60 * SECOND
    s.save(spec("d", timetable=TimetableSpec(kind="cron trigger", arguments=arguments)))
    s.pass_time(3000, by=600)
    assert dates(s) == []
    s.pass_time(1200, by=300)
    assert dates(s) == [3600]
    s.pass_time(3600, by=900)
    assert dates(s) == [3600, 7200]


def test_events_each_fire_once_when_they_come(s: Scheduling) -> None:
    moments = [START - DAY, START + HOUR, START + 2 * HOUR]
    s.save(spec("d", timetable=TimetableSpec(kind="events", arguments={"dates": moments, "restrict": False})))
    s.pass_time(9000, by=450)
    assert dates(s) == [3600, 7200]


def test_a_run_by_hand_does_not_use_up_once(s: Scheduling) -> None:
    s.save(spec("d", task("t"), timetable=TimetableSpec(kind="once", summary="@once")), paused=True)
    s.pause("d", paused=False)
    s.trigger("d", "by_hand")
    s.pass_time(3)
    assert sorted(run.run_type for run in s.runs("d")) == ["manual", "scheduled"]
