"""What a picture of a DAG shows, whatever it is drawn as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.core.specs import DagSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Node:
    """A task."""

    id: str
    label: str
    """Its id without the groups in front."""
    detail: str
    """Operator and executor."""
    role: str
    """``setup``, ``teardown`` or empty."""
    box: str | None
    """Id of the innermost box that it stands in."""


@dataclass(frozen=True, slots=True)
class Box:
    """A task group."""

    id: str
    label: str
    parent: str | None
    tooltip: str


@dataclass(frozen=True, slots=True)
class Edge:
    """``end`` waits for ``start``."""

    start: str
    end: str
    label: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything of one DAG, in the order in which its file says it."""

    title: str
    nodes: tuple[Node, ...]
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def picture_of(spec: DagSpec, executors: Mapping[str, str]) -> Picture:
    """The picture of a DAG.

    :param executors: by task id, where each goes.
    """
    boxes = {group.group_id: group for group in spec.groups}
    return Picture(
        title=spec.dag_id,
        nodes=tuple(_node(task, executors.get(task.task_id, ""), boxes) for task in spec.tasks),
        boxes=tuple(
            Box(group.group_id, _short(group.group_id, group.parent), group.parent, group.tooltip)
            for group in spec.groups
        ),
        edges=tuple(
            Edge(name, task.task_id, spec.edge_labels.get(name, {}).get(task.task_id, ""))
            for task in spec.tasks
            for name in task.upstream
        ),
    )


def _node(task: TaskSpec, executor: str, boxes: Mapping[str, object]) -> Node:
    role = "setup" if task.is_setup else "teardown" if task.is_teardown else ""
    box = task.group if task.group in boxes else None
    detail = " · ".join(word for word in (task.operator, "" if task.empty else executor) if word)
    return Node(task.task_id, _short(task.task_id, box), detail, role, box)


def _short(name: str, parent: str | None) -> str:
    """Without the id of the group that it stands in, which authors may leave out of it."""
    return name.removeprefix(f"{parent}.") if parent else name
