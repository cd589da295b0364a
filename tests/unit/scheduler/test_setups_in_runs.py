"""Setups, teardowns and branches in the model of one run."""

from __future__ import annotations

import pytest

from runtime.core.specs import TaskSpec
from runtime.core.states import RunState, TaskState
from runtime.scheduler.graph import build_graph
from runtime.scheduler.runs import Instance, RunModel
from tests.database.builders import spec, task

S, F, K, U = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
TEARDOWN = {"is_teardown": True, "trigger_rule": "all_done_setup_success"}
PIPELINE = (
    task("make", is_setup=True),
    task("load", "make"),
    task("note", "load", trigger_rule="all_done"),
    task("drop", "make", "note", **TEARDOWN),
)
"""``note`` would run whatever happens, but it stands within the setup."""


def model(*tasks: TaskSpec) -> RunModel:
    made = RunModel(
        identifier=1, run_id="r", graph=build_graph("v1", "f.py", "h", spec("d", *tasks)), epoch=1, run_after=0,
        started_at=0,
    )  # fmt: skip
    for node in made.graph.nodes:
        made.add(Instance(made, node, node.spec.task_id, -1, 0))
    return made


def play(run: RunModel, **ends: TaskState) -> dict[str, str]:
    """Run to the end; each task that is started ends as told, else with success. How all ended."""
    pending = run.settle().ready
    while pending:
        instance = pending.pop(0)
        run.move(instance, TaskState.SCHEDULED)
        pending += run.end(instance, ends.get(instance.id, S)).ready
    return {instance.id: str(instance.state) for instance in run.instances.values()}


@pytest.mark.parametrize(
    ("ends", "states", "outcome"),
    [
        ({}, "success success success success", RunState.SUCCESS),
        ({"load": F}, "success failed success success", RunState.SUCCESS),
        ({"note": F}, "success success failed success", RunState.FAILED),
        ({"drop": F}, "success success success failed", RunState.SUCCESS),
        ({"make": F}, "failed upstream_failed upstream_failed upstream_failed", RunState.FAILED),
        ({"make": K}, "skipped skipped skipped skipped", RunState.SUCCESS),
    ],
)
def test_a_run_with_a_setup(ends: dict[str, TaskState], states: str, outcome: RunState) -> None:
    """A teardown runs if its setup succeeded and does not make the run's state."""
    run = model(*PIPELINE)
    assert list(play(run, **ends).values()) == states.split()
    assert run.outcome is outcome


def test_a_teardown_that_counts_fails_the_run() -> None:
    run = model(*PIPELINE[:3], task("drop", "make", "note", on_failure_fail_dagrun=True, **TEARDOWN))
    play(run, drop=F)
    assert run.outcome is RunState.FAILED


def test_a_setup_is_waited_for_by_what_it_belongs_to() -> None:
    """``early`` has no other task to wait for."""
    run = model(
        task("make", is_setup=True),
        task("gate", "make"),
        task("other"),
        task("use", "gate", "other", trigger_rule="one_success"),
        task("drop", "make", "use", **TEARDOWN),
    )
    ready = run.settle().ready
    assert [instance.id for instance in ready] == ["make", "other"]
    assert run.end(run.instances["other"], S).ready == []
    released = run.end(run.instances["make"], S).ready
    assert [instance.id for instance in released] == ["gate", "use"]


def test_what_a_branch_skips_is_noted_before_any_of_it_is_judged() -> None:
    """Of a chain that is skipped as a whole nothing is decided twice: its rows are written already."""
    run = model(task("branch", decides=True), task("a", "branch"), task("b", "a"), task("end", "b", "branch"))
    run.settle()
    consequences = run.skip([run.instances["a"], run.instances["b"]])
    assert [subject.id for subject, _ in consequences.ended] == ["end"]
    assert run.unfinished == 1


def test_what_a_branch_did_not_follow_is_skipped_again_whatever_its_rule() -> None:
    run = model(task("branch", decides=True), task("a", "branch", trigger_rule="always"), task("b", "branch"))
    run.instances["branch"].state = S
    run.unfollowed = frozenset({1})
    consequences = run.settle()
    assert [(subject.id, state) for subject, state in consequences.ended] == [("a", K)]
    assert [instance.id for instance in consequences.ready] == ["b"]
