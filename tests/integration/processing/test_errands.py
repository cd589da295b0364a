"""Children of the DAG processor that call back for the dead, and plan the runs of custom timetables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.core.callbacks import RunCallback, TaskCallback, encode
from runtime.core.clock import SECOND, micros, moment
from runtime.core.clock import now as clock_now
from runtime.core.states import TaskState
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import DatabaseAwayError
from runtime.db.plans import AHEAD
from runtime.db.schema import callback_request, dag, planned_run
from runtime.db.transitions import Batch
from runtime.processing.errands import ErrandOptions, Errands
from runtime.processing.processor import DagProcessor
from runtime.scheduler.creation import create_due_runs
from tests.database.builders import DAY, World

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
DEADLINE = 30.0
START = micros(moment(0).replace(year=2026, month=3, day=2))
"""A Monday."""

CALLBACKS = """
import os, time
from runtime import DAG, task

def told(context):
    ti = context["ti"]
    error = context.get("exception")
    with open({notes!r}, "a") as file:
        print(context["run_id"], ti.task_id, ti.try_number, ti.state, error, context["reason"], file=file)

def breaks(context):
    raise ZeroDivisionError("in a callback")

def hangs(context):
    time.sleep(1000)

def leaves(context):
    os._exit(1)

with DAG("d", on_failure_callback={on_failure}):
    @task(on_failure_callback=told, on_retry_callback=told)
    def t(): pass
    t()
"""
TIMETABLE = """
from datetime import datetime, timedelta, timezone
from runtime import DAG, DagRunInfo, EmptyOperator, Timetable, register_timetable

@register_timetable("workdays")
class Workdays(Timetable):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        if last_automated_data_interval is None:
            start = restriction.earliest
        else:
            start = last_automated_data_interval.start + timedelta(days=1)
        while start.weekday() > 4:
            start += timedelta(days=1)
        {twist}
        return DagRunInfo.interval(start, start + timedelta(days=1))

with DAG("d", schedule={schedule}, start_date=datetime(2026, 3, 2), catchup=True):
    EmptyOperator(task_id="t")
"""


class Processing(World):
    """A DAGs folder, a DAG processor that has parsed it, and errands."""

    def __init__(self, database: Any, folder: Path) -> None:
        super().__init__(database)
        self.folder = folder
        self.notes = folder / "notes"
        (folder / "dags").mkdir()
        self.errands = Errands(database, self.options(), clock=self.clock)

    def options(self) -> ErrandOptions:
        return ErrandOptions(
            dags_folder=self.folder / "dags",
            log_folder=self.folder / "logs",
            import_timeout=20.0,
            callback_timeout=0.3,
            max_workers=2,
        )

    def parse(self, text: str) -> None:
        (self.folder / "dags" / "file.py").write_text(text)
        store = DatabaseDagStore(self.database, paused_at_creation=False)
        (parsed,) = DagProcessor(self.folder / "dags", "LocalExecutor", store).parse_once()
        assert parsed.error is None, parsed.error

    def until(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
            self.errands.step(time.monotonic())

    def want(self, *requests: RunCallback | TaskCallback) -> None:
        with self.database.write() as connection:
            for one in requests:
                text = encode(one).decode()
                connection.execute(callback_request.insert().values(created_at=self.at, executor="", request=text))

    def settled(self) -> bool:
        return not self.errands.is_busy and self.rows(callback_request) == []

    def called(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def p(database: Any, tmp_path: Path) -> Iterator[Processing]:
    made = Processing(database, tmp_path)
    yield made
    made.errands.close()


def failed(p: Processing, on_failure: str = "told") -> Any:
    """A run whose task has failed."""
    p.parse(CALLBACKS.format(notes=str(p.notes), on_failure=on_failure))
    run = p.claim(p.trigger("d", "r"))
    (instance,) = run.instances.values()
    p.start(p.queue(instance))
    p.refresh(instance)
    batch = Batch(p.at, "test")
    batch.end(instance.subject, TaskState.FAILED, reason="killed by SIGKILL")
    with p.database.write() as connection:
        batch.write(connection)
    return instance


def test_the_callbacks_of_a_dead_attempt_and_of_its_run_are_called_once(p: Processing) -> None:
    instance = failed(p)
    p.want(
        TaskCallback(instance.id, 1, "failure", "killed by SIGKILL"),
        RunCallback(instance.run.id, "failure", "task_failure"),
    )
    p.until(p.settled, "both were called")
    assert sorted(p.called()) == ["r t 1 failed None task_failure", "r t 1 failed killed by SIGKILL killed by SIGKILL"]


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("breaks", "breaks: ZeroDivisionError: in a callback"),
        ("[breaks, told]", "breaks: ZeroDivisionError: in a callback"),
        ("hangs", "hangs: TaskTimeout: ran longer than [core] callback_timeout, which bounds"),
        ("leaves", "ended the process (exit code 1) without an answer"),
    ],
)
def test_one_that_fails_is_told_and_not_called_again(p: Processing, callback: str, said: str, caplog: Any) -> None:
    instance = failed(p, callback)
    p.want(RunCallback(instance.run.id, "failure", "task_failure"))
    p.until(p.settled, "it was called")
    assert f"on_failure_callback of DAG d, run r failed: {said}" in caplog.text or said in caplog.text
    assert len(p.called()) == ("told" in callback)
    assert p.states(instance.run.id) == {"t": "failed"}
    if callback == "breaks":
        log = (p.folder / "logs" / "dag_id=d" / "run_id=r" / "callbacks.log").read_text()
        assert "on_failure_callback breaks failed; the task's state stays what it is" in log


def test_one_whose_processor_died_is_called_again_by_the_next_but_not_for_ever(p: Processing) -> None:
    instance = failed(p, "hangs")
    p.want(RunCallback(instance.run.id, "failure", "task_failure"))
    for tries in (1, 2, 3):
        p.until(lambda: p.errands.is_busy, f"try {tries}")
        assert p.row(callback_request).tries == tries
        p.errands.close()
        p.errands = Errands(p.database, p.options(), clock=p.clock)
        p.errands.step(time.monotonic())
        assert not p.errands.is_busy, "another processor's, for all that this one knows"
        p.forward(60)
        p.errands._next_look = float("-inf")
    p.errands.step(time.monotonic())
    assert p.settled(), "it is given up"


def test_what_names_nothing_is_dropped(p: Processing) -> None:
    p.want(RunCallback(99, "failure", "task_failure"), TaskCallback("none", 1, "failure", ""))
    with p.database.write() as connection:
        connection.execute(callback_request.insert().values(created_at=1, executor="one", request="rubbish"))
    p.until(p.settled, "they are dropped")


@pytest.mark.parametrize("schedule", ["Workdays()", '"workdays"'])
def test_the_runs_of_a_custom_timetable_are_planned_and_made_from_the_plan(p: Processing, schedule: str) -> None:
    p.parse(TIMETABLE.format(twist="pass", schedule=schedule))
    assert p.dag("d").schedule == "workdays"
    assert p.dag("d").next_run_after is None, "the scheduler cannot know: it never runs user code"
    p.at = clock_now()
    p.until(lambda: p.dag("d").next_run_after, "a plan")
    for _ in range(3):
        with p.database.write() as connection:
            create_due_runs(connection, p.graphs, limit=12, at=p.at, actor="test")
            connection.execute(dag.update().values(max_active_runs=1000))
        p.until(lambda: not p.errands.is_busy and p.dag("d").plan_wanted_at is None, "more is planned")
    days = [(run.logical_date - START) // DAY for run in p.runs("d")]
    assert days == [day for day in range(60) if day % 7 < 5][: len(days)], "every workday, none twice, no gap"
    assert len(days) > AHEAD
    last = p.runs("d")[-1].logical_date
    assert all(row.logical_date > last - AHEAD * DAY for row in p.rows(planned_run)), "what has been made goes"


def test_a_timetable_that_has_no_more_runs_is_not_asked_again(p: Processing) -> None:
    twist = "if start > datetime(2026, 3, 4, tzinfo=timezone.utc): return None"
    p.parse(TIMETABLE.format(twist=twist, schedule="Workdays()"))
    p.at = clock_now()
    p.until(lambda: p.dag("d").next_run_after, "a plan")
    with p.database.write() as connection:
        assert create_due_runs(connection, p.graphs, limit=9, at=p.at, actor="test") == 3
    assert p.dag("d").next_run_after is None
    p.errands._next_look = float("-inf")
    p.errands.step(time.monotonic())
    assert not p.errands.is_busy


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        ("start = datetime(2026, 3, 2, tzinfo=timezone.utc)", "each run must start later than the one before"),
        ("return 7", "must return a DagRunInfo with aware dates"),
        ("return DagRunInfo.exact(datetime(2026, 3, 2))", "must return a DagRunInfo with aware dates"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_timetable_that_cannot_be_used_is_told_and_asked_again_later(
    p: Processing, twist: str, said: str, caplog: Any
) -> None:
    p.parse(TIMETABLE.format(twist=twist, schedule="Workdays()"))
    p.at = clock_now()
    p.until(lambda: (p.dag("d").plan_wanted_at or 0) > p.at, "the plan is put off")
    assert p.dag("d").plan_wanted_at == p.at + 60 * SECOND
    assert "the runs of DAG d cannot be planned" in caplog.text
    assert said in caplog.text


def test_an_answer_waits_for_a_database_that_is_away(p: Processing, monkeypatch: Any, caplog: Any) -> None:
    """It is told in one line, and nothing is called twice."""
    instance = failed(p)
    p.want(RunCallback(instance.run.id, "failure", "task_failure"))
    transact = p.database.transact

    def away_since_the_call(work: Any) -> Any:
        if p.called():
            raise DatabaseAwayError("UPDATE", {}, ConnectionError("the server is starting"))
        return transact(work)

    with monkeypatch.context() as away:
        away.setattr(p.database, "transact", away_since_the_call)
        p.until(lambda: "errands wait" in caplog.text, "somebody said so")
    p.until(p.settled, "it is settled")
    assert len(p.called()) == 1
    assert "Traceback" not in caplog.text
