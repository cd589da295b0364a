"""Where tasks, groups and edges go: layers from left to right, each group laid out by itself and then placed whole.

Edges between members of different groups count for the groups. Groups may wait for each other in a circle where tasks
do not; an edge that goes back is then drawn, and not used for placing. An edge over several layers gets a place in each
of them, so that it goes beside what stands there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.cli.drawing.picture import Edge, Picture

GAP_X, GAP_Y = 56.0, 18.0
PADDING, HEADING = 14.0, 22.0
"""Of a box: around what stands in it, and for its label."""
NODE_HEIGHT, MARGIN = 42.0, 20.0
_CHARACTER, _DETAIL = 7.6, 6.2
"""Width of a character of a label, and of the smaller text."""
_SWEEPS = 4
_BEND_HEIGHT = 8.0
_MOST_BENDS = 20_000
"""In a DAG with more, long edges go straight."""

Link = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Left upper corner and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Places by id; ids of tasks and of groups are never the same within a DAG."""

    nodes: Mapping[str, Place]
    boxes: Mapping[str, Place]
    bends: Mapping[tuple[str, str], Sequence[Place]]
    """By the ends of an edge: what it goes through, in order."""
    width: float
    height: float


def lay_out(picture: Picture) -> Layout:
    """Place everything, with a margin around it."""
    work = _Work(picture)
    width, height = work.size(None)
    work.place(None, MARGIN, MARGIN)
    return Layout(work.nodes, work.boxes, work.bends(), width + 2 * MARGIN, height + 2 * MARGIN)


class _Work:
    """One layout: first the sizes from the inside out, then the places from the outside in."""

    def __init__(self, picture: Picture) -> None:
        self._parents = {box.id: box.parent for box in picture.boxes}
        self._labels = {box.id: box.label for box in picture.boxes}
        self._rank = _topological(picture)
        self._sizes = {node.id: _node_size(node.label, node.detail, node.role) for node in picture.nodes}
        self._inside: dict[str | None, list[str]] = {None: [], **{box.id: [] for box in picture.boxes}}
        self._chains: dict[str, list[str]] = {}
        for node in picture.nodes:
            chain = [node.id, *self._above(node.box)]
            self._chains[node.id] = chain[::-1]
            self._inside[node.box].append(node.id)
        for box in picture.boxes:
            self._inside[box.parent].append(box.id)
        self._lifted: dict[tuple[str, str], Link] = {}
        """By the ends of each edge: the items of the innermost common box between which it goes."""
        self._links: dict[str | None, set[Link]] = {}
        self._lift(picture.edges)
        self._columns: dict[str | None, list[list[str]]] = {}
        self._bends: dict[Link, list[str]] = {}
        self.nodes: dict[str, Place] = {}
        self.boxes: dict[str, Place] = {}

    def size(self, parent: str | None) -> tuple[float, float]:
        """Of what stands in a box, the box's own edge and label included."""
        for name in self._inside[parent]:
            if name in self._parents:
                self._sizes[name] = self.size(name)
        columns, bends = _columns(self._inside[parent], self._links.get(parent, ()), self._ranks())
        self._columns[parent] = columns
        self._bends |= bends
        self._sizes.update((name, (0.0, _BEND_HEIGHT)) for names in bends.values() for name in names)
        width = sum(self._width(column) for column in columns) + GAP_X * max(0, len(columns) - 1)
        height = max(map(self._height, columns), default=0.0)
        if parent is None:
            return width, height
        label = len(self._labels[parent]) * _CHARACTER
        return max(width, label) + 2 * PADDING, height + 2 * PADDING + HEADING

    def place(self, parent: str | None, x: float, y: float) -> None:
        """Place what stands in a box whose inside begins at ``x``, ``y``."""
        columns = self._columns[parent]
        tallest = max(map(self._height, columns), default=0.0)
        for column in columns:
            width, top = self._width(column), y + (tallest - self._height(column)) / 2
            for name in column:
                own_width, height = self._sizes[name]
                found = Place(x + (width - own_width) / 2, top, own_width, height)
                if name in self._parents:
                    self.boxes[name] = found
                    self.place(name, found.x + PADDING, found.y + PADDING + HEADING)
                else:
                    self.nodes[name] = found
                top += height + GAP_Y
            x += width + GAP_X

    def bends(self) -> dict[tuple[str, str], list[Place]]:
        """What each edge goes through."""
        return {
            edge: [self.nodes[name] for name in self._bends[link]]
            for edge, link in self._lifted.items()
            if link in self._bends
        }

    def _ranks(self) -> dict[str, int]:
        """The place of each task in a topological order; of a box, that of its first task."""
        ranks = dict(self._rank)
        for node, chain in self._chains.items():
            for box in chain[:-1]:
                ranks[box] = min(ranks.get(box, len(self._rank)), self._rank[node])
        return ranks

    def _width(self, column: Iterable[str]) -> float:
        return max(self._sizes[name][0] for name in column)

    def _height(self, column: Sequence[str]) -> float:
        return sum(self._sizes[name][1] for name in column) + GAP_Y * (len(column) - 1)

    def _above(self, box: str | None) -> list[str]:
        found = []
        while box is not None:
            found.append(box)
            box = self._parents[box]
        return found

    def _lift(self, edges: Iterable[Edge]) -> None:
        for edge in edges:
            start, end = self._chains[edge.start], self._chains[edge.end]
            depth = 0
            while start[depth] == end[depth]:
                depth += 1
            link = start[depth], end[depth]
            self._lifted[edge.start, edge.end] = link
            self._links.setdefault(start[depth - 1] if depth else None, set()).add(link)


def _node_size(label: str, detail: str, role: str) -> tuple[float, float]:
    width = max((len(label) + (len(role) + 3 if role else 0)) * _CHARACTER, len(detail) * _DETAIL)
    return max(90.0, width + 24.0), NODE_HEIGHT


def _topological(picture: Picture) -> dict[str, int]:
    waiting = {node.id: 0 for node in picture.nodes}
    after: dict[str, list[str]] = {node.id: [] for node in picture.nodes}
    for edge in picture.edges:
        waiting[edge.end] += 1
        after[edge.start].append(edge.end)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:
        for other in after[name]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return {name: number for number, name in enumerate(ready)}


def _columns(
    names: Sequence[str], links: Iterable[Link], ranks: Mapping[str, int]
) -> tuple[list[list[str]], dict[Link, list[str]]]:
    """The items in layers, each one right of all that it waits for, and near to them; and the bends among them."""
    ordered = sorted(names, key=lambda name: ranks.get(name, 0))
    at = {name: number for number, name in enumerate(ordered)}
    forward = sorted(link for link in links if at[link[0]] < at[link[1]])
    layer = _layers(ordered, forward)
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in ordered:
        columns[layer[name]].append(name)
    bends: dict[Link, list[str]] = {}
    if sum(layer[end] - layer[start] - 1 for start, end in forward) <= _MOST_BENDS:
        bends = {link: _bend(link, layer, columns) for link in forward if layer[link[1]] - layer[link[0]] > 1}
    before: dict[str, list[str]] = {name: [] for column in columns for name in column}
    after: dict[str, list[str]] = {name: [] for name in before}
    for start, end in forward:
        way = [start, *bends.get((start, end), ()), end]
        for one, other in pairwise(way):
            before[other].append(one)
            after[one].append(other)
    for sweep in range(_SWEEPS):
        _arrange(columns if sweep % 2 == 0 else columns[::-1], before if sweep % 2 == 0 else after)
    return columns, bends


def _layers(ordered: Sequence[str], links: Iterable[Link]) -> dict[str, int]:
    before: dict[str, list[str]] = {name: [] for name in ordered}
    for start, end in links:
        before[end].append(start)
    layer: dict[str, int] = {}
    for name in ordered:
        layer[name] = max((layer[other] + 1 for other in before[name]), default=0)
    return layer


def _bend(link: Link, layer: Mapping[str, int], columns: Sequence[list[str]]) -> list[str]:
    """Give an edge an item of its own in each column between its ends. No task id holds a NUL."""
    found = []
    for number in range(layer[link[0]] + 1, layer[link[1]]):
        name = f"{link[0]}\0{link[1]}\0{number}"
        columns[number].append(name)
        found.append(name)
    return found


def _arrange(columns: Iterable[list[str]], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Sort each column by the middle of its items' neighbours in the columns before."""
    position: dict[str, float] = {}
    for column in columns:
        own = {name: float(number) for number, name in enumerate(column)}
        middle = {
            name: sum(known) / len(known)
            if (known := [position[other] for other in neighbours[name] if other in position])
            else own[name]
            for name in column
        }
        column.sort(key=lambda name, middle=middle, own=own: (middle[name], own[name]))  # type: ignore[misc]
        position.update((name, float(number)) for number, name in enumerate(column))
