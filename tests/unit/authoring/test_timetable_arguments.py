"""Timetables under Airflow's names, callbacks and back-off, as DAG files give them, and what is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime import (
    DAG,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    EmptyOperator,
    EventsTimetable,
    MultipleCronTriggerTimetable,
    Timetable,
    register_timetable,
)
from runtime.authoring.exceptions import DagFileError
from runtime.authoring.serialize import dag_spec
from runtime.core.clock import micros
from runtime.core.specs import TimetableSpec

NONE = timedelta()
DATES = [datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1)]


class Odd(Timetable):
    def __init__(self, days: int = 2) -> None:
        self.days = days

    def serialize(self) -> dict[str, Any]:
        return {"days": self.days}


@pytest.mark.parametrize(
    ("timetable", "expected"),
    [
        (CronDataIntervalTimetable("@daily"), {"kind": "cron", "expression": "0 0 * * *", "summary": "@daily"}),
        (DeltaDataIntervalTimetable(timedelta(hours=2)), {"kind": "interval", "seconds": 7200.0, "summary": "2:00:00"}),
        (
            CronTriggerTimetable("0 6 * * *", timezone="Asia/Tokyo", interval=timedelta(hours=1)),
            {
                "kind": "cron trigger",
                "arguments": {"crons": ["0 6 * * *"], "interval": 3600.0, "run_immediately": False},
                "timezone": "Asia/Tokyo",
                "summary": "0 6 * * *",
            },
        ),
        (
            MultipleCronTriggerTimetable("0 6 * * *", "@weekly", run_immediately=timedelta(minutes=5)),
            {
                "kind": "cron trigger",
                "arguments": {"crons": ["0 6 * * *", "0 0 * * 0"], "interval": 0.0, "run_immediately": 300.0},
                "summary": "0 6 * * *, @weekly",
            },
        ),
        (
            DeltaTriggerTimetable(timedelta(hours=2), interval=timedelta(seconds=5)),
            {"kind": "delta trigger", "seconds": 7200.0, "arguments": {"interval": 5.0}, "summary": "2:00:00"},
        ),
        (
            EventsTimetable([*DATES, *DATES], restrict_to_events=True, description="cup finals"),
            {
                "kind": "events",
                "arguments": {
                    "dates": [micros(datetime(2026, 2, 28, 23, tzinfo=UTC)), micros(DATES[0])],
                    "restrict": True,
                },
                "summary": "cup finals",
            },
        ),
        (Odd(3), {"kind": "custom", "name": "Odd", "arguments": {"days": 3}, "summary": "Odd"}),
        ("@once", {"kind": "once", "summary": "@once"}),
        ("@continuous", {"kind": "continuous", "summary": "@continuous"}),
    ],
)
def test_a_timetable_becomes_data(timetable: Any, expected: dict[str, Any]) -> None:
    dag = DAG("d", schedule=timetable, timezone="Europe/Berlin")
    assert dag.timetable == TimetableSpec(**({"timezone": "Europe/Berlin"} | expected))
    assert (dag.custom_timetable is not None) == (expected["kind"] == "custom")
    assert dag.max_active_runs == (1 if timetable == "@continuous" else 16)


def test_a_registered_name_means_the_timetable() -> None:
    register_timetable("every-other-day")(Odd)
    dag = DAG("d", schedule="every-other-day")
    assert (dag.timetable.name, dag.timetable.arguments) == ("every-other-day", {"days": 2})
    assert isinstance(dag.custom_timetable, Odd)
    Odd.registered_name = ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CronTriggerTimetable("0 6 * *"), "cron '0 6 * *' has 4 fields; it needs five"),
        (lambda: CronTriggerTimetable(5), "cron must be a string, not 5"),
        (lambda: CronTriggerTimetable("@dayly"), "unknown schedule preset '@dayly'; did you mean '@daily'?"),
        (lambda: CronTriggerTimetable("0 6 * * *", timezone="Mars"), "unknown time zone 'Mars'"),
        (lambda: CronTriggerTimetable("0 6 * * *", interval=5), "interval of the timetable must be a timedelta, not 5"),
        (
            lambda: CronTriggerTimetable("0 6 * * *", run_immediately=5),
            "run_immediately must be True, False, None or a",
        ),
        (MultipleCronTriggerTimetable, "MultipleCronTriggerTimetable needs a cron expression"),
        (lambda: DeltaTriggerTimetable(NONE), "schedule of 0 seconds; use a timedelta of 1 second to 100 years"),
        (lambda: EventsTimetable(["2026-01-01"]), "event_dates must be datetimes, not '2026-01-01'"),
        (lambda: Odd({1}), r"Odd.serialize\(\)\['days'\]: a set is no JSON"),
    ],
)
def test_what_is_wrong_with_a_timetable_is_one_line(make: Any, message: str) -> None:
    with pytest.raises(DagFileError, match="DAG 'd': ") as raised:
        DAG("d", schedule=make())
    assert raised.match(message.replace("*", r"\*").replace("?", r"\?") if "cron '" in message else message[:60])
    assert "\n" not in str(raised.value)


def test_a_timetable_that_needs_arguments_has_no_name() -> None:
    class Needs(Timetable):
        def __init__(self, days: int) -> None:
            self.days = days

    register_timetable("needs")(Needs)
    with pytest.raises(DagFileError, match="DAG 'd': timetable 'needs' cannot be made without arguments: "):
        DAG("d", schedule="needs")
    with pytest.raises(DagFileError, match="register_timetable: name '@daily' is not allowed"):
        register_timetable("@daily")


def test_what_the_scheduler_needs_of_a_task_is_in_its_spec() -> None:
    def tell(context: Any) -> None:
        """Does nothing."""

    with DAG("d", default_args={"on_failure_callback": tell}, on_success_callback=[tell]) as dag:
        EmptyOperator(
            task_id="t",
            wait_for_downstream=True,
            retry_exponential_backoff=True,
            max_retry_delay=timedelta(hours=1),
            max_active_tis_per_dag=2,
            max_active_tis_per_dagrun=1,
            on_retry_callback=[tell, tell],
        )
        EmptyOperator(task_id="plain", on_failure_callback=None)
    spec = dag_spec(dag)
    task, plain = spec.tasks
    assert (task.depends_on_past, task.wait_for_downstream, task.ignore_first_depends_on_past) == (True, True, True)
    assert (task.retry_exponential_backoff, task.max_retry_delay) == (2.0, 3600.0)
    assert (task.max_active_tis_per_dag, task.max_active_tis_per_dagrun) == (2, 1)
    assert (task.callbacks, plain.callbacks) == (("failure", "retry"), ())
    assert (spec.has_on_success_callback, spec.has_on_failure_callback) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depends_on_past": "yes"}, "task 't': depends_on_past must be True or False, not 'yes'"),
        ({"max_active_tis_per_dag": 0}, "task 't': max_active_tis_per_dag = 0; it must be at least 1"),
        ({"max_active_tis_per_dagrun": 1.5}, "task 't': max_active_tis_per_dagrun must be a whole number, not 1.5"),
        (
            {"retry_exponential_backoff": 0.5},
            "task 't': retry_exponential_backoff must be True, False or a factor from",
        ),
        (
            {"retry_exponential_backoff": "2"},
            "task 't': retry_exponential_backoff must be True, False or a factor from",
        ),
        ({"max_retry_delay": 0}, "task 't': max_retry_delay of 0 seconds; it must be above 0"),
        ({"on_success_callback": 5}, "task 't': on_success_callback must be a function that takes the context, or a"),
        ({"on_skipped_callback": [print, None]}, "task 't': on_skipped_callback must be a function that takes the co"),
    ],
)
def test_what_is_wrong_with_a_task_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DagFileError) as raised, DAG("d"):
        EmptyOperator(task_id="t", **arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
