"""What a scheduler counts of its own decisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from executors.events import Succeeded
from runtime.db.schema import scheduler
from runtime.metrics.catalogue import find
from runtime.scheduler.leases import Identity, register
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling


def counters(s: Scheduling) -> dict[str, int]:
    found: dict[str, int] = s.scheduler.stats.snapshot()["counters"]
    return found


def figures(s: Scheduling) -> dict[str, Any]:
    """What the scheduler's row says."""
    return json.loads(s.row(scheduler, scheduler.c.id == s.me.id).metrics)


def test_waiting_is_timed_from_the_moment_that_a_task_could_run(scheduling: Callable[..., Scheduling]):
    s = scheduling({"one": 1})
    s.plan(a="hold", b="success")
    run = s.begin_run(spec("d", task("a"), task("b")))
    s.rest()
    s.pass_time(5)
    s.one.end_held(next(iter(s.one.held)))
    s.run_to_end(run)
    timing = s.scheduler.stats.snapshot()["timings"]["task.scheduled_duration"]
    assert (timing["count"], timing["max"]) == (2, pytest.approx(5, abs=0.5))


def test_figures_are_written_with_the_lease(s: Scheduling):
    s.plan(a="hold")
    s.begin_run(spec("d", task("a")))
    s.pass_time(12)
    written = figures(s)
    assert written["gauges"]["scheduler.dagruns.running"] == 1
    assert written["gauges"]["executor.running_tasks.one"] == 1
    assert written["gauges"]["executor.open_slots.one"] == 15
    assert written["gauges"]["executor.queued_tasks.one"] == written["gauges"]["executor.queued_slots.one"] == 0
    assert written["counters"]["scheduler_heartbeat"] >= 2
    assert {name for part in written.values() for name in part if find(name)[0] is None} == set()


def test_a_loss_is_counted_with_the_try_that_it_cost(s: Scheduling):
    s.plan(a="refused", b="lost, success")
    run = s.begin_run(spec("d", task("a"), task("b")))
    assert s.run_to_end(run) == ["failed"]
    found = counters(s)
    assert found["ti_failures"] == 1
    assert found["scheduler.attempts_lost"] == 1
    assert found["ti.finish"] == 2, "what the worker of the second launch reported is counted where it was taken"


def test_an_attempt_that_fell_silent_is_counted_once(scheduling: Callable[..., Scheduling]):
    s = scheduling(heartbeat_timeout=20.0)
    s.scheduler.policy = type(s.scheduler.policy)(infra_retries=0, hostname="w", local=(), piped=frozenset({"one"}))
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a")))
    s.pass_time(60)
    assert s.run_to_end(run) == ["failed"]
    assert counters(s)["task_instances_without_heartbeats_killed"] == 1


def test_an_end_that_is_told_twice_is_a_duplicate(s: Scheduling):
    s.plan(a="hold")
    run = s.begin_run(spec("d", task("a")))
    s.rest()
    key = s.one.held["a"]
    s.one.end_held("a")
    s.run_to_end(run)
    assert "scheduler.duplicate_events" not in counters(s)
    for count in (1, 3):
        # As an executor does that keeps no account of its own of what has ended.
        s.one._events += [Succeeded(key)] * ((count + 1) // 2)
        s.step(4)
        assert counters(s)["scheduler.duplicate_events"] == count


def test_a_scheduler_that_is_found_dead_is_counted(s: Scheduling):
    dead = Identity(pid=2**22 + 1, pid_started=1)
    with s.database.write() as connection:
        register(connection, dead, 15.0)
    s.pass_time(12)
    assert counters(s)["scheduler.schedulers_buried"] == 1
