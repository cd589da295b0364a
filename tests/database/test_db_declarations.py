"""What ``hybrid executors check`` reads of a database: live processes with what they declare, queues, DAG files."""

from __future__ import annotations

import json

from sqlalchemy import update

from runtime.core.clock import SECOND, now
from runtime.db import components
from runtime.db.declarations import active_dags, dag_files, live_components, waiting_by_queue
from runtime.db.schema import component, scheduler, task_attempt
from runtime.scheduler import leases
from tests.database.builders import World, spec, task


def shown(world: World) -> list[tuple]:
    with world.database.read() as connection:
        found = live_components(connection, world.at, scheduler_seconds=30.0)
    return [(each.kind, each.declared, each.clock_offset) for each in found]


def set_clock(world: World, table, offset: int | None) -> None:
    with world.database.write() as connection:
        connection.execute(update(table).values(heartbeat_at=world.at, clock_offset=offset))


def test_a_scheduler_declares_itself_once_and_its_clock_with_each_lease(world: World) -> None:
    other = leases.Identity()
    with world.database.write() as connection:
        leases.register(connection, other, 15.0, json.dumps({"a": "b"}))
        offsets = [*connection.execute(scheduler.select().with_only_columns(scheduler.c.clock_offset)).scalars()]
        assert all(abs(offset) < 60 * SECOND for offset in offsets)
        connection.execute(update(scheduler).values(clock_offset=7 * SECOND))
        leases.renew(connection, other, 15.0)
    with world.database.read() as connection:
        query = scheduler.select().with_only_columns(scheduler.c.clock_offset).where(scheduler.c.id == other.id)
        assert abs(connection.execute(query).scalar_one()) < SECOND
    set_clock(world, scheduler, 2 * SECOND)
    assert shown(world) == [("scheduler", {}, 2.0), ("scheduler", {"a": "b"}, 2.0)]


def test_a_component_declares_itself_and_one_of_an_older_version_does_not(world: World) -> None:
    with world.database.write() as connection:
        one = components.register(connection, components.DAG_PROCESSOR, world.at, json.dumps({"a": "b"}))
        components.register(connection, components.API_SERVER, world.at + 1)
        connection.execute(update(component).values(clock_offset=7 * SECOND))
        components.beat(connection, one, now())
        query = component.select().with_only_columns(component.c.clock_offset).where(component.c.id == one)
        assert abs(connection.execute(query).scalar_one()) < SECOND
        leases.end(connection, world.me.id)
    set_clock(world, component, None)
    assert shown(world) == [("dag-processor", {"a": "b"}, None), ("api-server", {}, None)]
    world.forward(components.SILENT_SECONDS + 1)
    assert shown(world) == []


def test_attempts_that_wait_are_counted_by_executor_and_queue(world: World) -> None:
    run = world.begin(task("a", queue="gpu"), task("b", queue="gpu"), task("c"), task("d", queue="gpu"))
    for name, executor in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two")):
        world.queue(_instance(run, name), executor)
    with world.database.write() as connection:
        begun = task_attempt.c.executor == "two"
        connection.execute(update(task_attempt).where(begun).values(state="running"))
        assert waiting_by_queue(connection) == {"one": {"gpu": 2, "default": 1}}


def test_the_files_and_tasks_are_those_of_the_newest_versions(world: World) -> None:
    world.save(spec("x"), rel_path="x.py", file_hash="old")
    world.save(spec("x", task("new")), rel_path="x.py", file_hash="new")
    world.save(spec("y"), spec("z"), rel_path="y.py", file_hash="h", paused=True)
    with world.database.read() as connection:
        assert dag_files(connection) == [("x.py", "new"), ("y.py", "h")]
        assert [(dag.dag_id, dag.tasks[0].task_id) for dag in active_dags(connection)] == [("x", "new")]


def _instance(run, name: str):
    return next(each for each in run.instances.values() if each.node.spec.task_id == name)
