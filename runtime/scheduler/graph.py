"""A DAG version as the scheduler walks it: tasks by number, edges both ways. Immutable; shared by all its runs."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.core.specs import DagSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Node:
    """One task; ``upstream`` and ``downstream`` are indexes into :attr:`DagGraph.nodes`."""

    index: int
    spec: TaskSpec
    upstream: tuple[int, ...]
    downstream: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DagGraph:
    version_id: str
    rel_path: str
    file_hash: str
    spec: DagSpec
    nodes: tuple[Node, ...]
    by_task: dict[str, Node]

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
    nodes = tuple(
        Node(number, task, upstream[number], tuple(downstream[number])) for number, task in enumerate(spec.tasks)
    )
    return DagGraph(version_id, rel_path, file_hash, spec, nodes, {node.spec.task_id: node for node in nodes})
