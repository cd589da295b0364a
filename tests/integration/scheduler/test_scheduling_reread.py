"""A run that is read again takes its inbox rows with it: executors must hear all the same of what is over."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import update

from runtime.core import messages as m
from runtime.db.schema import dag_run, task_attempt, task_instance
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

Make = Callable[..., Scheduling]


def test_a_report_that_went_with_the_reading_frees_its_slot(scheduling: Make) -> None:
    """Else an executor whose backend never tells, as Celery, would hold it for good."""
    s = scheduling({"one": 2})
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    key = s.one.held["a"]
    s.one._ask(m.Finish(key.attempt_id, key.attempt_id, "success", retry_delay=0.0))
    s.memory.stale.add(run.id)
    s.rest()
    assert (s.one.told, s.one.running, s.memory.handed) == ([key], {}, {})
    s.check_nothing_is_left()


def test_an_attempt_that_turns_out_to_be_lost_is_revoked(scheduling: Make) -> None:
    """As after a commit that said so, and whose answer never came."""
    s = scheduling({"one": 2})
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    key = s.one.held["a"]
    with s.database.write() as connection:
        connection.execute(update(task_attempt).values(state="lost", ended_at=s.at))
        connection.execute(update(task_instance).values(state="failed", end_date=s.at))
    s.memory.stale.add(run.id)
    s.rest()
    assert ("revoke_task", key) in s.one.calls
    assert (s.one.running, s.memory.handed) == ({}, {})
    s.check_nothing_is_left()


def test_a_run_that_is_over_is_forgotten_without_a_word(scheduling: Make, caplog) -> None:
    """As after a commit that ended it, and whose answer never came: the step that finds out goes on."""
    s = scheduling({"one": 2})
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a"), task("b", "a")))
    s.rest()
    with s.database.write() as connection:
        connection.execute(update(dag_run).values(state="success", lease_owner=None, end_date=s.at))
    s.memory.stale.add(run.id)
    s.scheduler.step(hinted=True)
    assert s.memory.runs == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
