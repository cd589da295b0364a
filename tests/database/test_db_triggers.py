"""Runs that tasks start: once for each try, whatever is asked twice, on each kind of database."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.core import messages as m
from runtime.core.states import AttemptState
from runtime.db.runs import set_paused
from runtime.db.schema import dag_run, event
from runtime.db.transitions import Batch
from runtime.scheduler.runs import Instance
from tests.database.builders import START, World, spec, task


@pytest.fixture
def world(world: World) -> World:
    """With a DAG ``child`` that has a param."""
    schemas = {"n": {"type": "integer"}}
    world.save(spec("child", task("only"), params={"n": 1}, param_schemas=schemas), rel_path="child.py")
    return world


def running(world: World, dag_id: str = "parent") -> str:
    """The attempt of a task that runs and triggers."""
    (instance,) = world.begin(task("start", retries=3), dag_id=dag_id).instances.values()
    return launched(world, instance)


def launched(world: World, instance: Instance) -> str:
    attempt = world.queue(instance)
    assert world.start(attempt).granted
    return attempt


def trigger(world: World, attempt: str, **options: Any) -> m.TriggeredRun:
    (reply,) = world.ask(m.TriggerRun(attempt, "n1", options.pop("dag_id", "child"), **options))
    return reply


def test_a_run_is_created_with_its_conf_and_the_scheduler_is_told(world: World) -> None:
    attempt = running(world)
    before = world.reports
    reply = trigger(world, attempt, conf={"n": 3}, run_id="mine", logical_date=START)
    assert (reply.run_id, reply.state, reply.existed, reply.reason) == ("mine", "queued", False, "")
    row = world.row(dag_run, dag_run.c.run_id == "mine")
    assert (row.dag_id, row.run_type, row.conf, row.logical_date) == ("child", "manual", '{"n": 3}', START)
    assert world.reports == before + 1
    (state,) = world.ask(m.RunStateGet(attempt, "n1", "child", "mine"))
    assert (state.run_id, state.state) == ("mine", "queued")


@pytest.mark.parametrize("run_id", ["", "mine"])
def test_one_try_starts_one_run_however_often_it_asks(world: World, run_id: str) -> None:
    """After a lost reply, and by an attempt that was launched once more because its worker was lost."""
    (instance,) = world.begin(task("start", retries=3), dag_id="parent").instances.values()
    attempt = launched(world, instance)
    first = trigger(world, attempt, run_id=run_id)
    world.forward(5)
    assert trigger(world, attempt, run_id=run_id, reset=True) == first
    batch = Batch(world.at, "test")
    batch.end_attempt(attempt, AttemptState.LOST)
    batch.schedule(world.refresh(instance).subject, same_try=True)
    with world.database.write() as connection:
        batch.write(connection)
    again = launched(world, world.refresh(instance))
    assert world.attempt(again).dispatch_number == 2
    assert trigger(world, again, run_id=run_id, reset=True) == first
    (run,) = world.runs("child")
    assert [row.new_state for row in world.rows(event, event.c.dag_run_id == run.id)] == ["queued"]


def test_the_next_try_starts_a_run_of_its_own(world: World) -> None:
    (instance,) = world.begin(task("start", retries=3), dag_id="parent").instances.values()
    attempt = launched(world, instance)
    first = trigger(world, attempt)
    world.finish(attempt, "failed", retry_delay=0.0)
    second = trigger(world, launched(world, world.refresh(instance)))
    assert first.run_id != second.run_id
    assert len(world.runs("child")) == 2


def test_tasks_that_trigger_in_one_moment_get_dates_of_their_own(world: World) -> None:
    attempts = [running(world, dag_id=f"parent{n}") for n in range(3)]
    replies = world.ask(*[m.TriggerRun(attempt, "n1", "child") for attempt in attempts])
    assert [reply.logical_date - world.at for reply in replies] == [0, 1, 2]


def test_a_run_that_is_there_is_refused_or_run_again(world: World) -> None:
    attempt = running(world)
    run = world.trigger("child", "mine", logical_date=START)
    (instance,) = world.claim(run).instances.values()
    world.finish(launched(world, instance))
    _end(world, run.id)
    refused = trigger(world, attempt, run_id="mine")
    assert (refused.existed, refused.state) == (True, "success")
    assert refused.reason == ("DAG child already has the run mine; give another id or date, or reset_dag_run=True")
    by_date = trigger(world, attempt, logical_date=START)
    assert (by_date.existed, by_date.run_id) == (True, "mine")
    assert trigger(world, attempt, run_id="mine", reset=True).state == "queued"
    assert world.states(run.id) == {"only": "none"}
    _end(world, run.id)
    assert trigger(world, attempt, run_id="mine", reset=True).state == "success", "once for each try"


def _end(world: World, run: int) -> None:
    with world.database.write() as connection:
        connection.execute(dag_run.update().where(dag_run.c.id == run).values(state="success", lease_owner=None))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dag_id": "chidl"}, "there is no DAG 'chidl', did you mean 'child'?; see `hybrid dags list`"),
        ({"run_id": "a b"}, "run id 'a b' is not allowed; use letters, digits and _.~:+- (at most 250, no '..')"),
        ({"conf": {"n": "x"}}, "DAG child: param 'n' = 'x': 'x' is not of type 'integer' (rule type: 'integer')"),
        ({"unless_paused": True}, "DAG child is paused"),
    ],
)
def test_what_cannot_be_started_says_why(world: World, options: dict[str, Any], reason: str) -> None:
    attempt = running(world)
    with world.database.write() as connection:
        set_paused(connection, "child", True)
    assert trigger(world, attempt, **options).reason == reason
    assert world.runs("child") == []


def test_a_task_cannot_reset_its_own_run_nor_ask_when_it_is_over(world: World) -> None:
    attempt = running(world)
    (own,) = world.runs("parent")
    reply = trigger(world, attempt, dag_id="parent", run_id=own.run_id, reset=True)
    assert "cannot reset the run that it belongs to" in reply.reason
    world.finish(attempt)
    assert "the attempt is over" in trigger(world, attempt).reason
    (state,) = world.ask(m.RunStateGet(attempt, "n1", "child", "x"))
    assert "the attempt is over" in state.reason
