"""Runs by hand: triggering, pausing, clearing; what each refuses, in which words."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.core.clock import SECOND, iso
from runtime.core.errors import HybridError, NotFoundError
from runtime.core.states import TaskState
from runtime.db.dags import DatabaseDagStore
from runtime.db.runs import require_run, set_paused
from runtime.db.schema import dag_run, event, task_instance
from runtime.scheduler.runs import Instance
from tests.database.builders import DAY, START, World, spec, task


def refused(kind: type[HybridError], function: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pause(world: World, dag_id: str, paused: bool = True) -> None:
    with world.database.write() as connection:
        set_paused(connection, dag_id, paused)


def end(world: World, instance: Instance, outcome: str = "success", **options: Any) -> str:
    """One whole attempt; returns its id."""
    identifier = world.queue(world.refresh(instance))
    world.start(identifier)
    assert world.finish(identifier, outcome, **options).accepted
    world.refresh(instance)
    return identifier


# -- trigger


def test_triggered_run_is_queued_with_the_dags_version(world: World) -> None:
    world.save(spec("d"))
    made = world.trigger("d", conf={"k": [1]}, logical_date=START - DAY)
    row = world.run(made.id)
    assert made.run_id == row.run_id == f"manual__{iso(START)}"
    assert (row.state, row.run_type, row.version_id, row.conf) == (
        "queued",
        "manual",
        world.dag("d").version_id,
        '{"k": [1]}',
    )
    assert (row.logical_date, row.run_after, row.lease_owner, row.lease_epoch) == (START - DAY, START, None, 0)
    (told,) = world.rows(event, event.c.dag_run_id == made.id)
    assert (told.old_state, told.new_state, told.actor) == (None, "queued", "cli")


def test_two_runs_of_one_moment_get_two_ids(world: World) -> None:
    world.save(spec("d"))
    ids = [world.trigger("d").run_id for _ in range(3)]
    assert ids == [f"manual__{iso(START)}{suffix}" for suffix in ("", "_1", "_2")]


def test_trigger_is_refused(world: World) -> None:
    world.save(spec("daily"))
    world.trigger("daily", "mine", logical_date=START)
    assert refused(NotFoundError, world.trigger, "dialy") == (
        "there is no DAG 'dialy', did you mean 'daily'?; see `hybrid dags list`"
    )
    assert refused(NotFoundError, world.trigger, "xyz") == "there is no DAG 'xyz'; see `hybrid dags list`"
    assert refused(HybridError, world.trigger, "daily", "mine") == (
        "DAG daily already has a run mine; choose another --run-id"
    )
    assert refused(HybridError, world.trigger, "daily", "other", logical_date=START) == (
        "DAG daily already has a run at that logical date: mine"
    )
    assert refused(HybridError, world.trigger, "daily", "../up") == (
        "run id '../up' is not allowed; use letters, digits and _.~:+- (at most 250, no '..')"
    )
    pause(world, "daily")
    assert refused(HybridError, world.trigger, "daily") == (
        "DAG daily is paused; run `hybrid dags unpause daily` first"
    )
    assert len(world.runs("daily")) == 1


def test_paused_dag_may_be_run_where_the_caller_says_so(world: World) -> None:
    world.save(spec("d"), paused=True)
    assert world.trigger("d", even_if_paused=True).run_id


def test_dag_whose_file_is_gone_is_not_there(world: World) -> None:
    world.save(spec("d"))
    DatabaseDagStore(world.database).forget(["dags.py"])
    assert "there is no DAG 'd'" in refused(NotFoundError, world.trigger, "d")
    assert "there is no DAG 'd'" in refused(NotFoundError, pause, world, "d")


def test_pause_and_unpause(world: World) -> None:
    world.save(spec("d"))
    pause(world, "d")
    assert world.dag("d").is_paused
    pause(world, "d", False)
    assert not world.dag("d").is_paused


def test_unknown_run_is_refused_with_near_names(world: World) -> None:
    world.save(spec("d"))
    world.trigger("d", "manual_1")
    with world.database.read() as connection:
        text = refused(NotFoundError, require_run, connection, "d", "manual_2")
    assert text == "DAG d has no run 'manual_2', did you mean 'manual_1'?; see `hybrid dags list-runs d`"


# -- clear


def test_clear_is_refused(world: World) -> None:
    run = world.begin(task("extract"))
    assert refused(NotFoundError, world.clear, "ghost") == "there is no DAG 'ghost'; see `hybrid dags list`"
    assert "has no run 'r'" in refused(NotFoundError, world.clear, "d", run_id="r")
    assert refused(NotFoundError, world.clear, "d", task_regex="extrat") == (
        "no task of DAG d matches 'extrat', did you mean 'extract'?"
    )
    assert refused(HybridError, world.clear, "d", task_regex="(") == (
        "--task-regex '(' is no regular expression: missing ), unterminated subpattern at position 0"
    )
    assert world.states(run.id) == {"extract": "none"}


def test_cleared_finished_task_may_run_again(world: World) -> None:
    run = world.begin(task("t", retries=1))
    (instance,) = run.instances.values()
    end(world, instance)
    assert world.clear("d") == 1
    row = world.ti("t")
    assert (row.state, row.end_date, row.reason, row.try_number) == ("none", None, "cleared", 1)
    assert world.inbox()[-1] == (run.id, "cleared")
    end(world, instance)
    assert [(a.try_number, a.state) for a in world.attempts("t")] == [(1, "success"), (2, "success")]


def test_each_clear_grants_the_authors_retries_again(world: World) -> None:
    """Airflow: ``max_tries = try_number + retries``; a task with one retry may fail twice after every clear."""
    (instance,) = world.begin(task("t", retries=1)).instances.values()
    ends = []
    for number in range(3):
        for _ in range(2):
            end(world, instance, "failed", retry_delay=0.0)
            ends.append((world.ti("t").try_number, world.ti("t").state))
        world.clear("d")
        assert world.ti("t").max_tries == 2 * (number + 1) + 1
    assert ends == [
        (1, "up_for_retry"),
        (2, "failed"),
        (3, "up_for_retry"),
        (4, "failed"),
        (5, "up_for_retry"),
        (6, "failed"),
    ]


def test_cleared_twice_in_a_row_is_cleared_once(world: World) -> None:
    (instance,) = world.begin(task("t", retries=2)).instances.values()
    end(world, instance)
    assert [world.clear("d"), world.clear("d")] == [1, 0]
    assert world.ti("t").max_tries == 3


def test_cleared_queued_task_never_starts(world: World) -> None:
    run = world.begin(task("t"))
    (instance,) = run.instances.values()
    identifier = world.queue(instance)
    assert world.clear("d") == 1
    assert (world.attempt(identifier).state, world.attempt(identifier).reason) == ("lost", "cleared before it started")
    reply = world.start(identifier)
    assert (reply.granted, reply.reason) == (False, "the attempt is lost and the task instance none")
    assert world.story(instance.id)[-2:] == ["queued>restarting", "restarting>none"]


def test_cleared_running_task_is_stopped_and_runs_again_when_it_is_quiet(world: World) -> None:
    run = world.begin(task("t"))
    (instance,) = run.instances.values()
    identifier = world.queue(instance)
    world.start(identifier)
    assert world.clear("d") == 1
    assert (world.ti("t").state, world.attempt(identifier).state) == ("restarting", "running")
    assert world.clear("d") == 1, "again: it is on its way"
    reply = world.finish(identifier, "failed")
    assert (reply.accepted, reply.state) == (True, "none"), "neither failed nor retried: it starts anew"
    assert world.ti("t").max_tries == 1


def test_only_failed_leaves_the_rest_alone(world: World) -> None:
    run = world.begin(task("good"), task("bad"), task("below", "bad"), task("idle"))
    end(world, run.instances[world.ti("good").id])
    end(world, run.instances[world.ti("bad").id], "failed")
    assert world.clear("d", only_failed=True) == 1
    assert world.states(run.id) == {"good": "success", "bad": "none", "below": "none", "idle": "none"}


def test_regex_and_run_choose(world: World) -> None:
    world.save(spec("d", task("load_a"), task("load_b"), task("report")))
    first, second = (world.claim(world.trigger("d", name)) for name in ("one", "two"))
    for run in (first, second):
        for instance in run.instances.values():
            end(world, instance)
    assert world.clear("d", run_id="one", task_regex="^load_") == 2
    assert world.states(first.id) == {"load_a": "none", "load_b": "none", "report": "success"}
    assert set(world.states(second.id).values()) == {"success"}
    assert world.clear("d", task_regex="report") == 2


@pytest.mark.parametrize("ended", ["success", "failed"])
def test_finished_run_is_queued_again(world: World, ended: str) -> None:
    run = world.begin(task("t"))
    end(world, next(iter(run.instances.values())))
    with world.database.write() as connection:
        values = {"state": ended, "end_date": START, "lease_owner": None, "reason": "old"}
        connection.execute(dag_run.update().where(dag_run.c.id == run.id).values(values))
    world.forward(60)
    world.clear("d")
    row = world.run(run.id)
    assert (row.state, row.end_date, row.queued_at, row.reason) == ("queued", None, START + 60 * SECOND, None)
    told = world.rows(event, event.c.dag_run_id == run.id, event.c.task_instance_id.is_(None))[-1]
    assert (told.old_state, told.new_state, told.actor, told.reason) == (ended, "queued", "clear", "tasks were cleared")
    assert world.claim(run.id).epoch == run.epoch + 1


def test_finished_run_without_anything_to_clear_stays_finished(world: World) -> None:
    run = world.begin(task("t"))
    with world.database.write() as connection:
        connection.execute(dag_run.update().values(state="success", lease_owner=None))
    assert world.clear("d") == 0
    assert world.run(run.id).state == "success"


def test_clear_forgives_lost_launches(world: World) -> None:
    (instance,) = world.begin(task("t")).instances.values()
    end(world, instance)
    with world.database.write() as connection:
        connection.execute(task_instance.update().values(infra_losses=2))
    world.clear("d")
    assert world.ti("t").infra_losses == 0


def test_waiting_retry_is_cleared_at_once(world: World) -> None:
    (instance,) = world.begin(task("t", retries=1)).instances.values()
    end(world, instance, "failed", retry_delay=3600.0)
    assert world.clear("d") == 1
    row = world.ti("t")
    assert (row.state, row.retry_at) == (TaskState.NONE, None)
