"""Which task instances a clear takes: relatives, setups, dates and states."""

from __future__ import annotations

import pytest

from runtime.core.errors import HybridError, NotFoundError
from runtime.db.clearing import Choice, choose, clear, states_of
from runtime.db.schema import task_instance
from tests.database.builders import DAY, START, spec, task

DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))


def finish(world, model, **outcomes):
    """End the model's instances in these states, in order."""
    for instance in model.instances.values():
        outcome = outcomes.get(instance.node.spec.task_id)
        if outcome:
            attempt = world.queue(instance)
            world.start(attempt)
            if outcome != "running":
                world.finish(attempt, outcome, retry=False)


def chosen(world, dag_id="d", **choice):
    with world.database.read() as connection:
        rows = choose(connection, Choice(dag_id=dag_id, **choice))
    return sorted(row.task_id for row in rows)


@pytest.fixture
def model(world):
    """A run of the diamond in which all but ``d`` have succeeded; ``d`` has failed."""
    found = world.begin(*DIAMOND)
    finish(world, found, a="success", b="success", c="success", d="failed")
    return found


def test_relatives_of_what_matches_are_chosen_too(world, model):
    assert chosen(world, task_regex="^b$") == ["b"]
    assert chosen(world, task_regex="^b$", downstream=True) == ["b", "d"]
    assert chosen(world, task_regex="^b$", upstream=True) == ["a", "b"]
    assert chosen(world, task_regex="^b$", upstream=True, downstream=True, states=states_of(
        only_failed=True, only_running=False)) == ["d"]  # fmt: skip


def test_setups_and_teardowns_go_with_the_task_that_they_belong_to(world):
    tasks = (
        task("make", is_setup=True),
        task("work", "make"),
        task("other", "make"),
        task("drop", "make", "work", "other", is_teardown=True),
    )
    found = world.begin(*tasks)
    finish(world, found, make="success", work="failed", other="success", drop="success")
    assert chosen(world, task_regex="work") == ["drop", "make", "work"]


def test_dates_choose_runs_and_both_ends_belong_to_them(world):
    world.save(spec("d", task("only")))
    for day in range(4):
        run = world.trigger("d", f"r{day}", logical_date=START + day * DAY)
        finish(world, world.claim(run), only="success")
    with world.database.read() as connection:
        rows = choose(connection, Choice(dag_id="d", start_date=START + DAY, end_date=START + 2 * DAY))
    assert [row.run_id for row in rows] == ["r1", "r2"]


def test_only_running_stops_what_runs_and_leaves_the_rest(world):
    found = world.begin(task("a"), task("b"))
    finish(world, found, a="success", b="running")
    choice = Choice(dag_id="d", states=states_of(only_failed=False, only_running=True))
    assert world.database.transact(lambda connection: clear(connection, choice, world.at)) == 1
    assert world.states(found.id) == {"a": "success", "b": "restarting"}


def test_a_pattern_that_fits_nothing_is_an_error_and_one_without_instances_is_not(world, model):
    with pytest.raises(NotFoundError, match="no task of DAG d matches 'bb', did you mean 'b'?"):
        chosen(world, task_regex="bb")
    with pytest.raises(HybridError, match="is no regular expression: "):
        chosen(world, task_regex="(")
    world.save(spec("fresh", task("x")), rel_path="fresh.py")
    assert chosen(world, "fresh", task_regex="x") == []


def test_cleared_instances_leave_events_and_may_fail_as_often_as_before(world, model):
    assert world.clear("d", task_regex="^d$") == 1
    assert world.story(world.ti("d").id)[-1] == "failed>none"
    assert world.row(task_instance, task_instance.c.task_id == "d").max_tries == 1
