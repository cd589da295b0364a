"""Tasks that depend on the run before: held when their run is claimed, let go when the earlier run's instances end.

A run that is claimed asks once how the run before stands. From then on whoever owns that one leaves a row in the inbox
of the next for each end that it may wait for. A row may be missed, where the next run is created while the instance
ends; so what is still held is looked at again with the chores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from runtime.core.past import held_by_past
from runtime.core.states import RunState
from runtime.db.past import RunBefore, followers, has_begun, run_before, seen_earlier, states_in
from runtime.db.schema import dag_run
from runtime.scheduler.graph import DagGraph
from runtime.scheduler.runs import RunModel

if TYPE_CHECKING:
    from runtime.scheduler.step import Step

NEWS = "past"
"""Kind of the inbox row; its task instance is the one of the run before that has ended."""
MOST_FOLLOWERS = 50


def hold(connection: Connection, run: RunModel) -> None:
    """Find out which nodes of a run, just filled, the run before holds. Costs nothing where none depends on it."""
    if run.graph.depending:
        run.held = _held(connection, run, run.graph.depending)


def let_go(step: Step, run: RunModel, task_ids: Iterable[str]) -> None:
    """Tasks of the run before have ended well: look again at the nodes that may have waited for them."""
    graph = run.graph
    nodes = {graph.by_task[name].index for name in task_ids if name in graph.by_task}
    nodes |= {above for index in nodes for above in graph.nodes[index].upstream}
    _look_again(step, run, run.held & nodes)


def look_again(step: Step) -> None:
    """Look at everything that is held: news may have been missed, the run before deleted."""
    for run in list(step.memory.runs.values()):
        if run.held and run.id not in step.memory.stale:
            _look_again(step, run, run.held)


def tell_next_runs(step: Step) -> None:
    """Leave news in the inbox of the runs that depend on the touched ones."""
    for run in step.touched.values():
        if run.news:
            news, run.news = run.news, []
            for follower in _followers(step.connection, run):
                step.woke = True
                for instance in news:
                    step.batch.notify(follower, NEWS, instance, None)


def _look_again(step: Step, run: RunModel, nodes: Collection[int]) -> None:
    if nodes:
        free = frozenset(nodes) - _held(step.connection, run, nodes)
        if free:
            step.touch(run)
            step.follow(run.let_go(free))


def _held(connection: Connection, run: RunModel, nodes: Collection[int]) -> frozenset[int]:
    graph = run.graph
    before = run_before(connection, run.id, catchup=graph.spec.catchup)
    if before is None:
        return frozenset()
    states = states_in(connection, before.id, _names(graph, nodes))
    return frozenset(index for index in nodes if _is_held(connection, graph, index, before, states))


def _is_held(
    connection: Connection, graph: DagGraph, index: int, before: RunBefore, states: dict[str, list[str]]
) -> bool:
    node = graph.nodes[index]
    downstream = [graph.nodes[below].spec.task_id for below in node.downstream]
    is_first = node.spec.task_id not in states and _is_first(connection, before, node.spec.task_id)
    return held_by_past(node.spec, downstream, states, run_id=before.run_id, is_first=is_first) is not None


def _is_first(connection: Connection, before: RunBefore, task_id: str) -> bool:
    """A run that nobody has claimed yet has no instances, and is to be waited for all the same."""
    return has_begun(connection, before.id) and not seen_earlier(connection, before, task_id)


def _names(graph: DagGraph, nodes: Collection[int]) -> set[str]:
    wanted = dict.fromkeys(nodes)
    for index in nodes:
        if graph.nodes[index].spec.wait_for_downstream:
            wanted.update(dict.fromkeys(graph.nodes[index].downstream))
    return {graph.nodes[index].spec.task_id for index in wanted}


def _followers(connection: Connection, run: RunModel) -> list[int]:
    """Runs that go by this one: the next by date and, of a DAG that catches up, all up to the next not made by hand."""
    date = connection.execute(select(dag_run.c.logical_date).where(dag_run.c.id == run.id)).scalar()
    if date is None:
        return []
    found = []
    catchup = run.graph.spec.catchup
    for row in connection.execute(followers(run.graph.dag_id, date).limit(MOST_FOLLOWERS if catchup else 1)):
        if row.state == RunState.RUNNING:
            found.append(row.id)
        if row.run_type != "manual":
            break
    return found
