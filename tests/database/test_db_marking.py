"""States set by hand: guarded, audited, and never over an attempt that still runs."""

from __future__ import annotations

import pytest

from runtime.core import messages as m
from runtime.core.errors import HybridError, NotFoundError
from runtime.core.states import TaskState
from runtime.db.deleting import delete_dag
from runtime.db.marking import Mark, mark_tasks, start_now
from runtime.db.schema import dag, dag_run, dag_version, event, run_inbox, task_attempt, task_instance, xcom
from tests.database.builders import DAY, START, spec, task


def mark(world, task_id, state, run_id, **options):
    wanted = Mark(dag_id="d", run_id=run_id, task_id=task_id, state=TaskState(state), **options)
    rows = world.database.transact(lambda c: mark_tasks(c, wanted, now=world.at, actor="ann"))
    return sorted((row.run_id, row.task_id, row.state) for row in rows)


def begin_now(world, task_id, run_id, *, ignore_all=False, ignore_past=False, force=False):
    return world.database.transact(
        lambda c: start_now(
            c,
            "d",
            run_id,
            task_id,
            ignore_all=ignore_all,
            ignore_past=ignore_past,
            force=force,
            now=world.at,
            actor="ann",
        )
    )


def instance(model, task_id):
    return next(one for one in model.instances.values() if one.node.spec.task_id == task_id)


def end_run(world, model, state):
    with world.database.write() as connection:
        connection.execute(
            dag_run.update().where(dag_run.c.id == model.id).values(state=state, end_date=world.at, lease_owner=None)
        )


@pytest.fixture
def failed(world):
    """A run that has failed: ``a`` failed, ``b`` below it never began."""
    model = world.begin(task("a"), task("b", "a"))
    attempt = world.queue(instance(model, "a"))
    world.start(attempt)
    world.finish(attempt, "failed", retry=False)
    with world.database.write() as connection:
        connection.execute(task_instance.update().where(task_instance.c.task_id == "b").values(state="upstream_failed"))
    end_run(world, model, "failed")
    return model


def test_a_failure_marked_success_lets_the_run_go_on_and_says_who(world, failed):
    assert mark(world, "a", "success", failed.run_id) == [(failed.run_id, "a", "failed")]
    assert world.states(failed.id) == {"a": "success", "b": "none"}
    assert world.run(failed.id).state == "queued"
    assert world.story(world.ti("a").id)[-2:] == ["failed>none", "none>success"]
    by_hand = [row.reason for row in world.rows(event, event.c.actor == "ann")]
    assert "marked success by ann" in by_hand
    assert mark(world, "a", "success", failed.run_id) == [], "the second time there is nothing to do"


def test_one_that_has_not_started_is_never_granted_its_start(world):
    model = world.begin(task("a"))
    attempt = world.queue(instance(model, "a"))
    mark(world, "a", "failed", model.run_id)
    assert not world.start(attempt).granted
    assert world.attempt(attempt).state == "lost"


def test_one_that_runs_is_told_to_stop_and_cleared_only_when_it_has(world):
    """Invariant 1: whoever clears it at once must not have two attempts run."""
    model = world.begin(task("a"))
    attempt = world.queue(instance(model, "a"))
    world.start(attempt)
    mark(world, "a", "skipped", model.run_id)
    (reply,) = world.ask(m.Heartbeat(attempt, "n1"))
    assert not reply.go_on
    assert world.clear("d") == 1
    assert world.ti("a").state == "restarting"
    assert world.finish(attempt, "failed").accepted
    assert world.ti("a").state == "none"


def test_relatives_and_other_runs_are_marked_where_asked(world):
    world.save(spec("d", task("a"), task("b", "a"), task("c", "b")))
    models = [world.claim(world.trigger("d", f"r{day}", logical_date=START + day * DAY)) for day in range(3)]
    mark(world, "b", "success", "r1", downstream=True, future=True)
    assert [world.states(model.id) for model in models] == [
        {"a": "none", "b": "none", "c": "none"},
        {"a": "none", "b": "success", "c": "success"},
        {"a": "none", "b": "success", "c": "success"},
    ]
    mark(world, "b", "skipped", "r1", upstream=True, past=True)
    assert world.states(models[0].id) == {"a": "skipped", "b": "skipped", "c": "none"}


def test_a_run_that_has_not_begun_and_a_task_that_is_none_are_refused(world):
    world.save(spec("d", task("extract")))
    world.trigger("d", "r")
    with pytest.raises(HybridError, match="run r of DAG d has no task instances yet: it is queued"):
        mark(world, "extract", "success", "r")
    with pytest.raises(NotFoundError, match="DAG d has no task 'extrct', did you mean 'extract'?"):
        mark(world, "extrct", "success", "r")


class TestStartNow:
    def test_all_dependencies_ignored_it_waits_for_a_slot_only(self, world, failed):
        begin_now(world, "b", failed.run_id, ignore_all=True)
        assert world.states(failed.id) == {"a": "failed", "b": "scheduled"}
        assert world.run(failed.id).state == "queued"

    def test_an_ended_one_needs_force_and_then_is_judged_like_any_other(self, world, failed):
        with pytest.raises(HybridError, match="has ended: failed; --force runs it again"):
            begin_now(world, "a", failed.run_id)
        begin_now(world, "a", failed.run_id, force=True)
        assert world.states(failed.id)["a"] == "none"

    def test_past_ignored_the_trigger_rule_still_holds(self, world, failed):
        with pytest.raises(HybridError, match=r"dependencies of task b are not met: a \(failed\); trigger rule"):
            begin_now(world, "b", failed.run_id, ignore_past=True, force=True)

    def test_one_on_its_way_and_a_paused_dag_are_refused(self, world):
        model = world.begin(task("a"))
        world.queue(instance(model, "a"))
        with pytest.raises(HybridError, match="is queued already"):
            begin_now(world, "a", model.run_id, ignore_all=True)
        with world.database.write() as connection:
            connection.execute(dag.update().values(is_paused=True))
        with pytest.raises(HybridError, match="DAG d is paused"):
            begin_now(world, "a", model.run_id, ignore_all=True)


class TestDelete:
    def delete(self, world):
        return world.database.transact(lambda c: delete_dag(c, "d", now=world.at, actor="ann"))

    def test_nothing_is_left_but_the_event_that_says_who(self, world, failed):
        world.save(spec("other"), rel_path="other.py")
        assert self.delete(world)["dag_run"] == 1
        for table in (dag_run, task_instance, task_attempt, run_inbox, xcom):
            assert world.rows(table) == []
        assert [row.dag_id for row in world.rows(dag)] == ["other"]
        assert [row.dag_id for row in world.rows(dag_version)] == ["other"]
        (left,) = world.rows(event)
        assert (left.actor, left.reason) == ("ann", "DAG d was deleted; runs: 1")

    def test_a_running_run_and_a_stopping_attempt_are_in_its_way(self, world):
        model = world.begin(task("a"))
        attempt = world.queue(instance(model, "a"))
        world.start(attempt)
        with pytest.raises(HybridError, match=f"DAG d is running: {model.run_id.split('+')[0]}"):
            self.delete(world)
        mark(world, "a", "failed", model.run_id)
        end_run(world, model, "failed")
        with pytest.raises(HybridError, match="1 attempts of DAG d are being stopped"):
            self.delete(world)
        world.finish(attempt, "failed")
        self.delete(world)

    def test_a_dag_that_never_was_is_named_with_what_was_meant(self, world, failed):
        with pytest.raises(NotFoundError, match="there is no DAG 'dd', did you mean 'd'?"):
            world.database.transact(lambda c: delete_dag(c, "dd", now=world.at, actor="ann"))
