"""SVG, drawn here: no Graphviz needed. Colours fit light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise

from runtime.cli.drawing.layout import MARGIN, Layout, Place, lay_out
from runtime.cli.drawing.picture import Box, Edge, Node, Picture

_TITLE_HEIGHT = 26.0
_COLOURS = {"setup": "#d7ecd9", "teardown": "#f6dfd0", "": "#e3eaf6"}
_STYLE = (
    "text{font-family:sans-serif;fill:#1b1f24}.l{font-size:13px;font-weight:600}.d{font-size:10.5px;fill:#57606a}"
    ".n{stroke:#8796ab;rx:7}.b{fill:#8796ab;fill-opacity:.1;stroke:#8796ab;stroke-dasharray:4 3;rx:9}"
    ".e{fill:none;stroke:#6e7f95;stroke-width:1.4}.t{font-size:15px;font-weight:700}"
)

_ARROW = (
    '<marker id="a" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#6e7f95"/></marker>'
)


def to_svg(picture: Picture) -> str:
    """A whole SVG document."""
    layout = lay_out(picture)
    width = max(layout.width, len(picture.title) * 9.0 + 2 * MARGIN)
    height = layout.height + _TITLE_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img">',
        f"<title>{_text(picture.title)}</title><style>{_STYLE}</style>",
        f"<defs>{_ARROW}</defs>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text class="t" x="{MARGIN:.1f}" y="{MARGIN:.1f}">{_text(picture.title)}</text>',
        f'<g transform="translate(0 {_TITLE_HEIGHT:.1f})">',
        *_boxes(picture, layout),
        *(line for edge in picture.edges for line in _edge(edge, layout)),
        *(line for node in picture.nodes for line in _node(node, layout.nodes[node.id])),
        "</g></svg>",
    ]
    return "\n".join(lines)


def _boxes(picture: Picture, layout: Layout) -> Iterator[str]:
    """The outer ones first: those inside are drawn on them."""
    for box in sorted(picture.boxes, key=lambda box: -layout.boxes[box.id].width):
        yield from _box(box, layout.boxes[box.id])


def _box(box: Box, place: Place) -> Iterator[str]:
    tooltip = f"<title>{_text(box.tooltip)}</title>" if box.tooltip else ""
    yield f'<rect class="b" {_rectangle(place)}>{tooltip}</rect>'
    yield f'<text class="d" x="{place.x + 12:.1f}" y="{place.y + 20:.1f}">{_text(box.label)}</text>'


def _node(node: Node, place: Place) -> Iterator[str]:
    middle = f'x="{place.x + place.width / 2:.1f}" text-anchor="middle"'
    role = f" ({node.role})" if node.role else ""
    yield (
        f'<g><title>{_text(node.id)}</title><rect class="n" {_rectangle(place)} fill="{_COLOURS[node.role]}"/>'
        f'<text class="l" {middle} y="{place.y + 18:.1f}">{_text(node.label + role)}</text>'
        f'<text class="d" {middle} y="{place.y + 33:.1f}">{_text(node.detail)}</text></g>'
    )


def _edge(edge: Edge, layout: Layout) -> Iterator[str]:
    start, end = layout.nodes[edge.start], layout.nodes[edge.end]
    through = layout.bends.get((edge.start, edge.end), ())
    points = [
        (start.x + start.width, start.y + start.height / 2),
        *((place.x + place.width / 2, place.y + place.height / 2) for place in through),
        (end.x, end.y + end.height / 2),
    ]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(_curve(*pair) for pair in pairwise(points))
    yield f'<path class="e" marker-end="url(#a)" d="{path}"/>'
    if edge.label:
        (x1, y1), (x2, y2) = points[0], points[1]
        x, y = (x1 + x2) / 2, (y1 + y2) / 2 - 4
        yield f'<text class="d" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{_text(edge.label)}</text>'


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    bend = max(24.0, abs(x2 - x1) / 2)
    return f"C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _rectangle(place: Place) -> str:
    return f'x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}"'


def _text(text: str) -> str:
    """Escaped, without the control characters that XML cannot hold."""
    return escape("".join(char if char.isprintable() else " " for char in text))
