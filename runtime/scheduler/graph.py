"""A DAG version as the scheduler walks it: tasks by number, edges both ways. Immutable; shared by all its runs."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.core.relatives import Relatives
from runtime.core.specs import DagSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Node:
    """One task; ``upstream`` and ``downstream`` are indexes into :attr:`DagGraph.nodes`."""

    index: int
    spec: TaskSpec
    upstream: tuple[int, ...]
    downstream: tuple[int, ...]
    setups: tuple[int, ...] = ()
    """Setups farther up whose resources it uses: unless all succeed it does not run, whatever its trigger rule."""
    users: tuple[int, ...] = ()
    """Of a setup: the tasks that have it among their ``setups``."""

    @property
    def affects(self) -> tuple[int, ...]:
        """Whose turn may have come when an instance of it ends."""
        return self.downstream + self.users if self.users else self.downstream


@dataclass(frozen=True, slots=True)
class DagGraph:
    version_id: str
    rel_path: str
    file_hash: str
    spec: DagSpec
    nodes: tuple[Node, ...]
    by_task: dict[str, Node]
    leaves: tuple[int, ...]
    """Indexes of the tasks whose states make the run's."""
    depending: frozenset[int] = frozenset()
    """Tasks that depend on the run before."""
    awaited: frozenset[int] = frozenset()
    """Tasks whose end the next run may wait for."""
    calls_back: bool = False
    """Whether any task has callbacks."""

    @property
    def dag_id(self) -> str:
        return self.spec.dag_id


def build_graph(version_id: str, rel_path: str, file_hash: str, spec: DagSpec) -> DagGraph:
    """Raises ``KeyError`` where a task names an upstream that the DAG has not."""
    index = {task.task_id: number for number, task in enumerate(spec.tasks)}
    upstream = [tuple(index[name] for name in task.upstream) for task in spec.tasks]
    downstream: list[list[int]] = [[] for _ in spec.tasks]
    for number, before in enumerate(upstream):
        for other in before:
            downstream[other].append(number)
    setups, users, leaves = _roles(spec.tasks, index)
    nodes = tuple(
        Node(
            number,
            task,
            upstream[number],
            tuple(downstream[number]),
            setups.get(number, ()),
            users.get(number, ()),
        )
        for number, task in enumerate(spec.tasks)
    )
    by_task = {node.spec.task_id: node for node in nodes}
    depending = frozenset(node.index for node in nodes if node.spec.depends_on_past)
    followed = {below for node in nodes if node.spec.wait_for_downstream for below in node.downstream}
    calls_back = any(task.callbacks for task in spec.tasks)
    return DagGraph(
        version_id, rel_path, file_hash, spec, nodes, by_task, leaves, depending, depending | followed, calls_back
    )


Indexes = tuple[int, ...]


def _roles(
    tasks: tuple[TaskSpec, ...], index: dict[str, int]
) -> tuple[dict[int, Indexes], dict[int, Indexes], Indexes]:
    """What setups and teardowns make of the graph: ``setups`` and ``users`` by node, and the leaves."""
    relatives = Relatives(tasks)
    leaves = tuple(index[name] for name in relatives.leaves())
    if not relatives.has_setups:
        return {}, {}, leaves
    setups: dict[int, Indexes] = {}
    users: dict[int, Indexes] = {}
    for setup, names in relatives.users_of_setups().items():
        users[index[setup]] = tuple(index[name] for name in names)
        for name in names:
            setups[index[name]] = (*setups.get(index[name], ()), index[setup])
    return setups, users, leaves
