"""One run in memory: what follows when a task instance ends, and that it costs its downstream edges only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.specs import DagSpec, TaskSpec
from runtime.core.states import TASK_ACTIVE, TASK_FINISHED, RunState, TaskState
from runtime.core.trigger_rules import TriggerRule, UpstreamCounts
from runtime.scheduler import runs
from runtime.scheduler.graph import build_graph
from runtime.scheduler.runs import Consequences, Instance, RunModel
from tests.database.builders import spec, task

S, F, K = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED


def model(*tasks: TaskSpec, states: dict[str, TaskState] | None = None, mapped: int = 1) -> RunModel:
    graph = build_graph("v1", "f.py", "h", spec("d", *tasks))
    made = RunModel(identifier=1, run_id="r", graph=graph, epoch=1, run_after=0, started_at=0)
    for node in graph.nodes:
        for index in range(mapped):
            name = f"{node.spec.task_id}{index or ''}"
            instance = Instance(made, node, name, index if mapped > 1 else -1, 0)
            instance.state = (states or {}).get(name, TaskState.NONE)
            made.add(instance)
    return made


def ids(consequences: Consequences) -> tuple[list[str], dict[str, str]]:
    """What became ready, and what ended with which state."""
    return (
        [instance.id for instance in consequences.ready],
        {subject.id: str(state) for subject, state in consequences.ended},
    )


def begin(run: RunModel, instances: Sequence[Instance]) -> None:
    """As the step does with what became ready."""
    for instance in instances:
        for state in (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING):
            run.move(instance, state)


# -- graph


def test_graph_has_edges_both_ways_in_the_order_of_the_spec() -> None:
    graph = build_graph("v1", "f.py", "h", spec("d", task("a"), task("b", "a"), task("c", "a", "b")))
    assert [(n.index, n.upstream, n.downstream) for n in graph.nodes] == [
        (0, (), (1, 2)),
        (1, (0,), (2,)),
        (2, (0, 1), ()),
    ]
    assert (graph.dag_id, graph.by_task["c"].index) == ("d", 2)


def test_graph_of_an_unknown_upstream_task_is_an_error() -> None:
    with pytest.raises(KeyError, match="ghost"):
        build_graph("v1", "f.py", "h", spec("d", task("a", "ghost")))


# -- examples


def test_roots_are_ready_at_once_and_the_rest_waits() -> None:
    run = model(task("a"), task("b", "a"), task("c"))
    assert ids(run.settle()) == (["a", "c"], {})


def test_chain_goes_on_step_by_step() -> None:
    run = model(task("a"), task("b", "a"), task("c", "b"))
    begin(run, run.settle().ready)
    assert ids(run.end(run.instances["a"], S)) == (["b"], {})


def test_failure_goes_down_the_graph_at_once() -> None:
    run = model(task("a"), task("b", "a"), task("c", "b"))
    begin(run, run.settle().ready)
    assert ids(run.end(run.instances["a"], F)) == ([], {"b": "upstream_failed", "c": "upstream_failed"})
    assert run.outcome is RunState.FAILED


@pytest.mark.parametrize("cause", [F, K])
def test_join_reached_by_two_ways_at_once_becomes_ready_once(cause: TaskState) -> None:
    """Twice would mean two dispatches of one instance."""
    run = model(task("a"), task("b", "a"), task("c", "a"), task("j", "b", "c", trigger_rule="all_done"))
    begin(run, run.settle().ready)
    assert ids(run.end(run.instances["a"], cause))[0] == ["j"]


def test_join_below_empty_tasks_becomes_ready_once() -> None:
    empty = {"empty": True}
    run = model(task("a", **empty), task("b", "a", **empty), task("c", "a", **empty), task("j", "b", "c"))
    assert ids(run.settle()) == (["j"], {"a": "success", "b": "success", "c": "success"})


def test_run_of_empty_tasks_ends_by_itself() -> None:
    run = model(task("a", empty=True), task("b", "a", empty=True))
    run.settle()
    assert run.outcome is RunState.SUCCESS


def test_run_without_tasks_is_a_success() -> None:
    graph = build_graph("v1", "f.py", "h", DagSpec("d", ()))
    run = RunModel(identifier=1, run_id="r", graph=graph, epoch=1, run_after=0, started_at=0)
    assert ids(run.settle()) == ([], {})
    assert run.outcome is RunState.SUCCESS


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ({"a": F, "b": S}, RunState.SUCCESS),
        ({"a": S, "b": F}, RunState.FAILED),
        ({"a": F, "b": TaskState.UPSTREAM_FAILED}, RunState.FAILED),
        ({"a": S, "b": K}, RunState.SUCCESS),
        ({"a": S, "b": TaskState.RUNNING}, None),
        ({"a": S, "b": TaskState.UP_FOR_RETRY}, None),
    ],
)
def test_the_leaves_decide_how_a_run_ends(states: dict[str, TaskState], outcome: RunState | None) -> None:
    run = model(task("a"), task("b", "a", trigger_rule="all_done"), states=states)
    run.settle()
    assert run.outcome is outcome


def test_all_instances_of_a_mapped_task_are_counted_as_one_group() -> None:
    run = model(task("a"), task("b", "a"), mapped=3)
    begin(run, run.settle().ready)
    assert ids(run.end(run.instances["a"], S)) == ([], {})
    assert ids(run.end(run.instances["a1"], S)) == ([], {})
    assert ids(run.end(run.instances["a2"], S)) == (["b", "b1", "b2"], {})


def test_loaded_in_the_middle_it_goes_on_where_it_was() -> None:
    states = {"a": S, "b": TaskState.RUNNING, "c": TaskState.SCHEDULED, "e": TaskState.RESTARTING}
    run = model(task("a"), task("b", "a"), task("c", "a"), task("d", "a"), task("e", "a"), states=states)
    assert ids(run.settle()) == (["d"], {})
    assert (run.unfinished, run.active) == (4, 2)


# -- any DAG


@st.composite
def runs_of_any_dag(draw: Any) -> RunModel:
    size = draw(st.integers(1, 9))
    tasks = []
    for number in range(size):
        above = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        rule = draw(st.sampled_from([str(rule) for rule in TriggerRule]))
        empty = draw(st.sampled_from([False, False, True]))
        tasks.append(task(f"t{number}_", *[f"t{one}_" for one in sorted(above)], trigger_rule=rule, empty=empty))
    return model(*tasks, mapped=draw(st.integers(1, 2)))


def play(run: RunModel, data: Any) -> list[Consequences]:
    """Run it to its end with any outcomes in any order; after each end the model must equal one built anew."""
    history = [run.settle()]
    running: list[Instance] = []
    while True:
        begin(run, history[-1].ready)
        running += history[-1].ready
        same_as_built_anew(run)
        if not running:
            return history
        chosen = running.pop(data.draw(st.integers(0, len(running) - 1)))
        history.append(run.end(chosen, data.draw(st.sampled_from([S, S, F, K]))))


def same_as_built_anew(run: RunModel) -> None:
    anew = RunModel(identifier=1, run_id="r", graph=run.graph, epoch=1, run_after=0, started_at=0)
    for instance in run.instances.values():
        copy = Instance(anew, instance.node, instance.id, instance.map_index, 0)
        copy.state = instance.state
        anew.add(copy)
    assert ids(anew.settle()) == ([], {}), "the model overlooked something that follows from its states"
    assert [figures(counts) for counts in run.counts] == [figures(counts) for counts in anew.counts]
    assert (run.unfinished, run.active, run.outcome) == (anew.unfinished, anew.active, anew.outcome)


def figures(counts: UpstreamCounts) -> tuple[int, ...]:
    return tuple(getattr(counts, name) for name in UpstreamCounts.__slots__)


@given(runs_of_any_dag(), st.data())
def test_step_by_step_equals_built_anew(run: RunModel, data: Any) -> None:
    play(run, data)


@given(runs_of_any_dag(), st.data())
def test_every_run_ends_with_every_instance_judged_once(run: RunModel, data: Any) -> None:
    history = play(run, data)
    assert run.outcome is not None
    assert all(instance.state in TASK_FINISHED for instance in run.instances.values())
    released = Counter(instance.id for one in history for instance in one.ready)
    ended = Counter(subject.id for one in history for subject, _ in one.ended)
    assert released + ended == Counter(run.instances.keys())


@given(runs_of_any_dag(), st.data())
def test_what_ends_by_itself_is_guarded_by_the_state_it_was_in(run: RunModel, data: Any) -> None:
    for consequences in play(run, data):
        assert all(subject.state is TaskState.NONE for subject, _ in consequences.ended)


@given(runs_of_any_dag(), st.data())
def test_no_end_looks_at_more_than_downstream_edges(run: RunModel, data: Any) -> None:
    """The cost of an end: a judgement for each edge below what ended, and no other."""
    looks = 0
    judge = runs.evaluate

    def counting(rule: str, counts: UpstreamCounts) -> Any:
        nonlocal looks
        looks += 1
        return judge(rule, counts)

    running: list[Instance] = list(run.settle().ready)
    begin(run, running)
    runs.evaluate = counting
    try:
        while running:
            looks = 0
            chosen = running.pop(data.draw(st.integers(0, len(running) - 1)))
            found = run.end(chosen, data.draw(st.sampled_from([S, F, K])))
            ended = {run.instances[subject.id].node.index for subject, _ in found.ended} | {chosen.node.index}
            assert looks <= sum(len(run.graph.nodes[index].downstream) for index in ended)
            begin(run, found.ready)
            running += found.ready
    finally:
        runs.evaluate = judge


def test_one_end_among_ten_thousand_looks_at_its_own_downstream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    run = model(*[task(f"r{n}_") for n in range(10_000)], task("j", *[f"r{n}_" for n in range(10_000)]))
    begin(run, run.settle().ready)
    looked: list[UpstreamCounts] = []
    judge = runs.evaluate
    monkeypatch.setattr(runs, "evaluate", lambda rule, counts: looked.append(counts) or judge(rule, counts))
    run.end(run.instances["r7_"], S)
    assert looked == [run.counts[10_000]]


@given(st.lists(st.sampled_from(sorted(set(TaskState) - TASK_FINISHED)), max_size=8))
def test_active_counts_what_holds_a_place(path: list[TaskState]) -> None:
    run = model(task("a"))
    run.settle()
    instance = run.instances["a"]
    for state in path:
        run.move(instance, state)
        assert run.active == (state in TASK_ACTIVE)
