"""The DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.cli.drawing.picture import Box, Node, Picture

_SHAPES = {"setup": "cds", "teardown": "house", "": "box"}


def to_dot(picture: Picture) -> str:
    """A digraph, left to right; task groups are clusters."""
    lines = [
        f"digraph {_quoted(picture.title)} {{",
        f"  graph [label={_quoted(picture.title)} labelloc=t rankdir=LR]",
        '  node [shape=box style="rounded" fontname="sans-serif"]',
        '  edge [fontname="sans-serif" fontsize=10]',
        *_inside(picture, None, "  "),
    ]
    for edge in picture.edges:
        label = f" [label={_quoted(edge.label)}]" if edge.label else ""
        lines.append(f"  {_quoted(edge.start)} -> {_quoted(edge.end)}{label}")
    return "\n".join([*lines, "}"])


def _inside(picture: Picture, parent: str | None, indent: str) -> Iterator[str]:
    for node in picture.nodes:
        if node.box == parent:
            yield f"{indent}{_node(node)}"
    for box in picture.boxes:
        if box.parent == parent:
            yield from _cluster(picture, box, indent)


def _cluster(picture: Picture, box: Box, indent: str) -> Iterator[str]:
    yield f"{indent}subgraph {_quoted(f'cluster_{box.id}')} {{"
    yield f"{indent}  label={_quoted(box.label)} style=rounded tooltip={_quoted(box.tooltip)}"
    yield from _inside(picture, box.id, indent + "  ")
    yield f"{indent}}}"


def _node(node: Node) -> str:
    role = f"\n({node.role})" if node.role else ""
    text = _quoted(f"{node.label}{role}\n{node.detail}" if node.detail else f"{node.label}{role}")
    shape = "" if not node.role else f" shape={_SHAPES[node.role]}"
    return f"{_quoted(node.id)} [label={text}{shape}]"


def _quoted(text: str) -> str:
    """As a DOT string, whose backslashes would begin escapes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'
