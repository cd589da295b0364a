"""Why a task instance waits: each reason, and the order of several."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.clock import SECOND
from runtime.core.states import TASK_FINISHED, TaskState
from runtime.core.waiting import ExecutorFacts, PoolFacts, RunFacts, Situation, TaskFacts, waits_for
from tests.database.builders import task

RUN = RunFacts("running", None, False, True, 0, 16, 1, 16, 1)
WELL = ExecutorFacts("healthy", None, 4)
NOW = Situation(100 * SECOND, RUN, pool=PoolFacts(128, 0), executors={"one": WELL}, chain=("one",))
QUARANTINED = "quarantined until the scheduler restarts: X"


def facts(state: str, **values) -> TaskFacts:
    spec = {key: values.pop(key) for key in ("pool", "pool_slots", "queue", "trigger_rule") if key in values}
    return TaskFacts(task("t", **spec), state, values.pop("reason", None), values.pop("retry_at", None), None, **values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schedulers": 0}, "no scheduler is running"),
        ({"is_paused": True}, "the DAG is paused"),
        ({"reason": QUARANTINED}, f"the run is {QUARANTINED}"),
        (
            {"state": "queued", "running_runs": 2, "max_active_runs": 2},
            "DAG limit: 2 of max_active_runs = 2 runs are running",
        ),
        ({"has_owner": False}, "no scheduler has taken its run over yet"),
        ({"active_tasks": 3, "max_active_tasks": 3}, "run limit: 3 of max_active_tasks = 3 tasks are active"),
    ],
)
def test_run(change, reason) -> None:
    assert waits_for(facts("scheduled"), replace(NOW, run=replace(RUN, **change)))[0] == reason


def test_upstream_names_those_that_have_not_ended_and_the_rule() -> None:
    upstream = {"a": ["success"], "b": ["running"], "c": ["success", "queued"], **{f"x{n}": ["none"] for n in range(5)}}
    (reason,) = waits_for(facts("none", trigger_rule="all_done"), replace(NOW, upstream=upstream))
    assert reason == (
        "upstream: b (running), c (queued), x0 (none), x1 (none), x2 (none) and 2 more; trigger rule all_done"
    )


@pytest.mark.parametrize(
    ("spec", "pool", "reason"),
    [
        ({"pool": "gone"}, None, "pool: there is no pool 'gone'"),
        ({}, PoolFacts(2, 2), "pool: 2 of 2 slots of pool 'default_pool' are in use"),
        ({"pool_slots": 2}, PoolFacts(4, 3), "pool: 3 of 4 slots of pool 'default_pool' are in use, and it wants 2"),
        ({"pool_slots": 5}, PoolFacts(4, 0), "pool: it wants 5 slots, and pool 'default_pool' has 4"),
    ],
)
def test_pool(spec, pool, reason) -> None:
    assert waits_for(facts("scheduled", **spec), replace(NOW, pool=pool)) == [reason]


@pytest.mark.parametrize(
    ("executors", "chain", "reasons"),
    [
        ({"one": ExecutorFacts("healthy", None, 0)}, ("one",), ["executor one: full"]),
        ({"one": ExecutorFacts("unavailable", "no broker", 9)}, ("one",), ["executor one: unavailable (no broker)"]),
        ({"one": ExecutorFacts("draining", "by ann", 9)}, ("one",), ["executor one: draining (by ann)"]),
        (
            {"one": ExecutorFacts("paused", None, 9), "two": ExecutorFacts("degraded", "x", 0)},
            ("one", "two"),
            ["executor one: paused", "executor two: full"],
        ),
        ({"one": ExecutorFacts("paused", None, 9), "two": WELL}, ("one", "two"), ["the scheduler's next step"]),
        ({"one": WELL}, (), ["executor 'x' is not configured"]),
    ],
)
def test_executor(executors, chain, reasons) -> None:
    now = replace(NOW, executors=executors, chain=chain, route_reason="executor 'x' is not configured")
    assert waits_for(facts("scheduled"), now) == reasons


@pytest.mark.parametrize(
    ("values", "executors", "reason"),
    [
        ({"attempt_reason": "Unschedulable: 0/3 nodes"}, {"one": WELL}, "executor one: Unschedulable: 0/3 nodes"),
        ({}, {"one": ExecutorFacts("unavailable", "no broker", 0)}, "executor one: unavailable (no broker)"),
        ({}, {}, "executor one: no live scheduler has it"),
        ({}, {"one": WELL}, "executor one: handed over 0 s ago, no worker of queue 'big' has begun"),
    ],
)
def test_queued(values, executors, reason) -> None:
    now = replace(NOW, executors=executors)
    assert waits_for(facts("queued", executor="one", queue="big", **values), now) == [reason]


def test_retry_stop_and_silence() -> None:
    assert waits_for(facts("up_for_retry", retry_at=130 * SECOND), NOW) == ["retry delay: the next try is due in 30 s"]
    assert waits_for(facts("restarting"), NOW)[0].startswith("quiescence: its attempt is being stopped")
    assert waits_for(facts("running", suspicion="no heartbeat for 16 s"), NOW) == ["quiescence: no heartbeat for 16 s"]
    assert waits_for(facts("running"), NOW) == []


def test_outermost_reason_comes_first() -> None:
    now = replace(NOW, run=replace(RUN, is_paused=True, schedulers=0), pool=PoolFacts(1, 1))
    found = waits_for(facts("scheduled"), now)
    assert [reason.split(":")[0] for reason in found] == ["no scheduler is running", "the DAG is paused", "pool"]


@given(
    state=st.sampled_from(sorted(TaskState)),
    paused=st.booleans(),
    slots=st.integers(0, 2),
    health=st.sampled_from(["healthy", "paused"]),
)
def test_what_could_start_always_has_a_reason_and_what_has_ended_never(state, paused, slots, health) -> None:
    now = replace(NOW, run=replace(RUN, is_paused=paused), executors={"one": ExecutorFacts(health, None, slots)})
    found = waits_for(facts(state, executor="one"), now)
    if TaskState(state) in TASK_FINISHED:
        assert not found
    elif state not in (TaskState.RUNNING, TaskState.NONE):
        assert found
