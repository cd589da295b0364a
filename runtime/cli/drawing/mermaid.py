"""Mermaid flowcharts, which code hosts and wikis draw in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.cli.drawing.picture import Picture

_SHAPES = {"setup": ('>"', '"]'), "teardown": ('[/"', '"\\]'), "": ('("', '")')}


def to_mermaid(picture: Picture) -> str:
    """A flowchart, left to right; ids are numbers, for names may hold words that Mermaid takes for its own."""
    ids = {node.id: f"t{number}" for number, node in enumerate(picture.nodes)}
    lines = ["---", f"title: {_quoted(picture.title)}", "---", "flowchart LR", *_inside(picture, ids, None, "  ")]
    for edge in picture.edges:
        label = f'|"{_text(edge.label)}"|' if edge.label else ""
        lines.append(f"  {ids[edge.start]} -->{label} {ids[edge.end]}")
    return "\n".join(lines)


def _inside(picture: Picture, ids: dict[str, str], parent: str | None, indent: str) -> Iterator[str]:
    for node in picture.nodes:
        if node.box == parent:
            before, after = _SHAPES[node.role]
            role = f" ({node.role})" if node.role else ""
            detail = f"<br/><small>{_text(node.detail)}</small>" if node.detail else ""
            yield f"{indent}{ids[node.id]}{before}{_text(node.label + role)}{detail}{after}"
    for number, box in enumerate(picture.boxes):
        if box.parent == parent:
            yield f'{indent}subgraph g{number}["{_text(box.label)}"]'
            yield from _inside(picture, ids, box.id, indent + "  ")
            yield f"{indent}end"


def _text(text: str) -> str:
    """Letters, digits and the like as they are, the rest as Mermaid's entity codes."""
    return "".join(char if char.isalnum() or char in " _.-·()" else f"#{ord(char)};" for char in text)


def _quoted(text: str) -> str:
    """For the YAML in front."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
