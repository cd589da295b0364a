"""What the task service counts, and whose figures a scrape shows."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert, update

from runtime.core import messages as m
from runtime.db import components
from runtime.db.figures import live_figures
from runtime.db.schema import component, scheduler
from runtime.metrics.collector import Collector
from runtime.scheduler import leases
from runtime.service.tasks import TaskService
from tests.database.builders import World, start, task


@pytest.fixture
def stats(world: World) -> Collector:
    collector = Collector()
    world.service = TaskService(world.database, stats=collector, clock=world.clock)
    return collector


@pytest.fixture
def attempt(world: World) -> str:
    run = world.begin(task("a", retries=1))
    (instance,) = run.instances.values()
    return world.queue(instance)


def counters(stats: Collector) -> dict[str, int]:
    return stats.snapshot()["counters"]


def test_a_success_is_a_start_a_finish_and_how_long_its_executor_took(world: World, stats, attempt):
    world.forward(1.5)
    world.start(attempt)
    world.finish(attempt)
    assert counters(stats) == {"ti.start": 1, "ti.finish": 1, "ti_successes": 1}
    timing = stats.snapshot()["timings"]["task.queued_duration"]
    assert (timing["count"], timing["sum"]) == (1, 1.5)


def test_a_failed_try_counts_though_another_one_follows(world: World, stats, attempt):
    world.start(attempt)
    world.finish(attempt, "failed", retry_delay=1.0)
    assert counters(stats) == {"ti.start": 1, "ti.finish": 1, "ti_failures": 1}


def test_what_is_repeated_after_a_lost_answer_counts_once(world: World, stats, attempt):
    for _ in range(2):
        assert world.start(attempt).granted
    for _ in range(2):
        assert world.finish(attempt).accepted
    assert counters(stats) == {"ti.start": 1, "ti.finish": 1, "ti_successes": 1}


def test_every_refusal_is_fenced_off(world: World, stats, attempt):
    world.start(attempt, "n1")
    assert not world.start(attempt, "n2").granted
    assert not world.ask(m.Heartbeat(attempt, "n2"))[0].go_on
    assert not world.finish(attempt, nonce="n2").accepted
    assert world.ask(m.Heartbeat(attempt, "n1"))[0].go_on
    world.finish(attempt, nonce="n1")
    assert not world.ask(m.Heartbeat(attempt, "n1"))[0].go_on
    assert counters(stats)["attempts.fenced_off"] == 4


def test_what_was_undone_is_not_counted(world: World, stats, attempt, monkeypatch):
    def broken(*_):
        raise RuntimeError("as if the disk were full")

    monkeypatch.setattr("runtime.service.tasks.xcoms.clear", broken)
    assert not world.ask(start(attempt))[0].accepted
    assert stats.snapshot() == {"gauges": {}, "counters": {}, "timings": {}}


class TestLiveFigures:
    """Rows of live processes only."""

    def shown(self, world: World):
        with world.database.read() as connection:
            return [
                (dict(one.labels), one.snapshot) for one in live_figures(connection, world.at, scheduler_seconds=30.0)
            ]

    def test_a_scheduler_writes_its_figures_with_its_lease(self, world: World):
        assert self.shown(world) == [], "it has written none yet"
        with world.database.write() as connection:
            leases.renew(connection, world.me, 15.0, json.dumps({"gauges": {"g": 1}}))
            connection.execute(update(scheduler).values(heartbeat_at=world.at))
        assert self.shown(world) == [
            ({"scheduler": f"{world.me.hostname}:{world.me.pid}"}, {"gauges": {"g": 1}}),
        ]
        world.forward(29)
        assert len(self.shown(world)) == 1
        world.forward(2)
        assert self.shown(world) == []

    def test_a_scheduler_that_has_ended_is_left_out(self, world: World):
        with world.database.write() as connection:
            leases.renew(connection, world.me, 15.0, "{}")
            connection.execute(update(scheduler).values(heartbeat_at=world.at))
            leases.end(connection, world.me.id)
        assert self.shown(world) == []

    def test_a_component_writes_its_figures_with_its_heartbeat(self, world: World):
        with world.database.write() as connection:
            one = components.register(connection, components.API_SERVER, world.at)
            components.beat(connection, one, world.at, '{"counters": {"c": 2}}')
            row = {"kind": "x", "hostname": "box", "pid": 9, "started_at": 0, "heartbeat_at": 0, "metrics": "{}"}
            connection.execute(insert(component).values(id="silent for long", **row))
        ((labels, snapshot),) = self.shown(world)
        assert labels["component"].startswith("api-server ")
        assert snapshot == {"counters": {"c": 2}}
        world.forward(components.SILENT_SECONDS + 1)
        assert self.shown(world) == []
