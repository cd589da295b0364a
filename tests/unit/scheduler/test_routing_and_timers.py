"""Which executor, and why; what to look at later; what the scheduler forgets with a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.workload import TaskInstanceKey
from runtime.core.routing import Route
from runtime.core.states import TaskState
from runtime.scheduler.duties import Schedule
from runtime.scheduler.graph import build_graph
from runtime.scheduler.leases import Identity
from runtime.scheduler.memory import UNROUTED, Handed, Memory, Timers
from runtime.scheduler.runs import Instance, RunModel
from tests.database.builders import router, spec, task

KEY = TaskInstanceKey("d", "t", "r")


def loaded_run(*executors: str | None) -> RunModel:
    tasks = [task(f"t{n}", executor=executor) for n, executor in enumerate(executors)]
    graph = build_graph("v", "f", "h", spec("d", *tasks))
    run = RunModel(identifier=7, run_id="r", graph=graph, epoch=1, run_after=0, started_at=0)
    for node in graph.nodes:
        run.add(Instance(run, node, node.spec.task_id, -1, 0))
        run.instances[node.spec.task_id].state = TaskState.SCHEDULED
    return run


def memory(missing: str = "hold") -> Memory:
    return Memory(Identity("me", "host", 1, 1, "boot"), router("local", "east", missing=missing))


# -- routes


def test_task_that_says_nothing_goes_to_the_first_executor() -> None:
    assert router("local", "east").route(spec("d"), task("t")) == Route(("local",), "default: first in [core] executor")


@pytest.mark.parametrize("source", ["task", "default_args", "dag"])
def test_reason_says_who_chose(source: str) -> None:
    found = router("local", "east").route(spec("d"), task("t", executor="east", executor_source=source))
    assert found == Route(("east",), f"{source}: executor='east'")


@pytest.mark.parametrize(
    ("missing", "route"),
    [
        ("hold", Route((), "executor 'west' is not configured: unknown executor 'west'; configured: local, east")),
        (
            "fail",
            Route((), "executor 'west' is not configured: unknown executor 'west'; configured: local, east", True),
        ),
        ("reroute", Route(("local",), "rerouted: executor 'west' is not configured ([core] missing_executor)")),
    ],
)
def test_executor_that_is_no_longer_configured(missing: str, route: Route) -> None:
    assert router("local", "east", missing=missing).route(spec("d"), task("t", executor="west")) == route


def test_held_instance_waits_with_its_reason_and_takes_no_slot() -> None:
    kept = memory()
    run = loaded_run("west")
    kept.enqueue(run.instances["t0"])
    assert kept.held["t0"].startswith("executor 'west' is not configured")
    assert run.instances["t0"].executor == UNROUTED
    assert kept.ready.choose({"local": 9, "east": 9}, lambda _: None) == []


def test_instance_that_is_to_fail_stands_in_no_queue() -> None:
    kept = memory("fail")
    run = loaded_run("west")
    kept.enqueue(run.instances["t0"])
    assert not kept.ready
    assert list(kept.timers.due(0)) == [("unroutable", run.instances["t0"])]


# -- timers


@given(st.lists(st.integers(0, 50), max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_timers_come_when_they_are_due_in_order_and_once(dues: list[int], looks: list[int]) -> None:
    timers, run = Timers(), loaded_run()
    for number, due in enumerate(dues):
        timers.add(due, f"{number}", run)
    left = sorted(enumerate(dues), key=lambda item: (item[1], item[0]))
    for at in sorted(looks):
        assert timers.next_due == (left[0][1] if left else None)
        ripe = [item for item in left if item[1] <= at]
        assert [kind for kind, _ in timers.due(at)] == [str(number) for number, _ in ripe]
        left = left[len(ripe) :]
    assert timers.next_due == (left[0][1] if left else None)


# -- periodic duties


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=20))
def test_duty_is_due_once_a_period(waits: list[int]) -> None:
    schedule, at, last = Schedule(), 10**15, None
    for wait in waits:
        at += wait
        due = schedule.is_due("look", at, 1.0)
        assert due == (last is None or at - last >= 1_000_000)
        last = at if due else last


# -- memory


def test_dropped_run_leaves_nothing_that_lives() -> None:
    kept = memory()
    run = loaded_run("west", "east", None)
    kept.runs[run.id] = run
    kept.stale.add(run.id)
    instances = list(run.instances.values())
    instances[2].state = TaskState.SUCCESS
    for instance in instances[:2]:
        kept.enqueue(instance)
    kept.drop(run)
    assert (kept.runs, kept.stale, kept.held, list(kept.ready.waiting())) == ({}, set(), {}, [])
    assert [instance.state for instance in instances] == [TaskState.REMOVED, TaskState.REMOVED, TaskState.SUCCESS]


def test_timer_of_days_keeps_no_dropped_run_in_memory() -> None:
    """``dagrun_timeout`` of a week and a run a minute would otherwise be 10,000 runs with all their instances."""
    kept = memory()
    run = loaded_run(None)
    kept.timers.add(10**18, "run timeout", run)
    kept.drop(run)
    assert (run.instances, run.by_node, run.counts) == ({}, [], [])


def test_slots_in_use_are_those_of_what_was_handed_over() -> None:
    kept = memory()
    for number, executor in enumerate(("local", "east", "local")):
        kept.handed[f"a{number}"] = Handed(executor, 7, f"t{number}", KEY)
    assert kept.occupied() == {"local": 2, "east": 1}


def test_attempt_is_found_while_it_is_the_current_one() -> None:
    kept = memory()
    run = loaded_run(None)
    kept.handed["a1"] = Handed("local", run.id, "t0", KEY)
    assert kept.find("a1") is None, "its run is not loaded"
    kept.runs[run.id] = run
    assert kept.find("a1") is None, "another attempt is the current one"
    run.instances["t0"].attempt_id = "a1"
    assert kept.find("a1") is run.instances["t0"]
    assert kept.find("a2") is None
