"""Pictures of DAGs: everything is in them, nothing overlaps, and no name breaks out of its place."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.cli.drawing.dot import to_dot
from runtime.cli.drawing.layout import lay_out
from runtime.cli.drawing.mermaid import to_mermaid
from runtime.cli.drawing.picture import Box, Edge, Node, Picture, picture_of
from runtime.cli.drawing.svg import to_svg
from runtime.core.specs import DagSpec, GroupSpec, ParsedFile, TaskSpec
from runtime.db.dags import DatabaseDagStore

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '</text><script>"\\n\x00 & ]] --> \U0001f600'
SPEC = DagSpec(
    "etl",
    (
        TaskSpec("make", "@task", is_setup=True),
        TaskSpec("load.a", "BashOperator", upstream=("make",), group="load"),
        TaskSpec("load.deep.b", "@task", upstream=("load.a",), group="load.deep"),
        TaskSpec("drop", "@task", upstream=("make", "load.deep.b"), is_teardown=True),
    ),
    groups=(GroupSpec("load", tooltip="loads"), GroupSpec("load.deep", parent="load")),
    edge_labels={"load.deep.b": {"drop": "when done"}},
)


def names(count):
    return [f"t{number}" for number in range(count)]


@st.composite
def pictures(draw):
    """Any DAG of up to 12 tasks, in up to 4 boxes that may stand in each other."""
    boxes = [f"g{number}" for number in range(draw(st.integers(0, 4)))]
    parents = [draw(st.sampled_from([None, *boxes[:number]])) for number in range(len(boxes))]
    tasks = names(draw(st.integers(1, 12)))
    edges = [pair for pair in itertools.combinations(tasks, 2) if draw(st.integers(0, 3)) == 0]
    return Picture(
        "dag",
        tuple(Node(name, name, "", "", draw(st.sampled_from([None, *boxes]))) for name in tasks),
        tuple(Box(name, name, parent, "") for name, parent in zip(boxes, parents, strict=True)),
        tuple(Edge(start, end, "") for start, end in edges),
    )


def inside(inner, outer):
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def apart(one, other):
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


class TestLayout:
    @settings(max_examples=60, deadline=None)
    @given(pictures())
    def test_tasks_stand_in_their_boxes_and_nothing_overlaps(self, picture):
        layout = lay_out(picture)
        for node in picture.nodes:
            assert node.box is None or inside(layout.nodes[node.id], layout.boxes[node.box])
        for box in picture.boxes:
            assert box.parent is None or inside(layout.boxes[box.id], layout.boxes[box.parent])
        places = [layout.nodes[node.id] for node in picture.nodes]
        assert all(apart(*pair) for pair in itertools.combinations(places, 2))
        for one, other in itertools.combinations(picture.boxes, 2):
            if one.parent == other.parent:
                assert apart(layout.boxes[one.id], layout.boxes[other.id])
        assert all(place.x + place.width <= layout.width for place in places)

    @settings(max_examples=40, deadline=None)
    @given(pictures())
    def test_without_boxes_each_task_stands_right_of_all_that_it_waits_for(self, picture):
        nodes = tuple(Node(node.id, node.label, "", "", None) for node in picture.nodes)
        layout = lay_out(Picture("dag", nodes, (), picture.edges))
        for edge in picture.edges:
            start = layout.nodes[edge.start]
            assert start.x + start.width <= layout.nodes[edge.end].x

    def test_a_long_edge_goes_beside_what_stands_between_its_ends(self):
        tasks = tuple(
            TaskSpec(name, "@task", upstream=up) for name, up in (("a", ()), ("b", ("a",)), ("c", ("a", "b")))
        )
        layout = lay_out(picture_of(DagSpec("d", tasks), {}))
        (bend,) = layout.bends["a", "c"]
        assert apart(bend, layout.nodes["b"])

    def test_ten_thousand_tasks_in_one_layer_and_a_chain_of_a_thousand(self):
        wide = [TaskSpec("root", "@task"), *(TaskSpec(name, "@task", upstream=("root",)) for name in names(10_000))]
        assert len(lay_out(picture_of(DagSpec("d", tuple(wide)), {})).nodes) == 10_001
        pairs = zip(names(1_000), [None, *names(999)], strict=True)
        chain = tuple(TaskSpec(name, "@task", upstream=(up,) if up else ()) for name, up in pairs)
        assert lay_out(picture_of(DagSpec("d", chain), {})).height < 200


class TestSvg:
    def test_every_task_group_executor_label_and_mark_is_in_it(self):
        root = ET.fromstring(to_svg(picture_of(SPEC, {"load.a": "heavy", "make": "LocalExecutor"})))
        texts = {element.text for element in root.iter(f"{SVG}text")}
        assert {"etl", "make (setup)", "drop (teardown)", "a", "b", "load", "deep", "when done"} <= texts
        assert {"BashOperator · heavy", "@task · LocalExecutor"} <= texts
        assert len(list(root.iter(f"{SVG}path"))) == 1 + 4, "the arrow head and four edges"

    def test_names_that_would_be_markup_are_text(self):
        spec = DagSpec(
            "d", (TaskSpec("t", NASTY), TaskSpec("u", "@task", upstream=("t",))), edge_labels={"t": {"u": NASTY}}
        )
        root = ET.fromstring(to_svg(picture_of(spec, {"t": NASTY})))
        assert not list(root.iter(f"{SVG}script"))


class TestDot:
    def test_groups_are_clusters_and_setups_have_shapes(self):
        text = to_dot(picture_of(SPEC, {"load.a": "heavy"}))
        assert 'subgraph "cluster_load" {' in text
        assert '    subgraph "cluster_load.deep" {' in text
        assert '"load.a" [label="a\\nBashOperator · heavy"]' in text
        assert '"load.deep.b" -> "drop" [label="when done"]' in text
        assert "shape=house" in text

    def test_quotes_and_backslashes_stay_inside(self):
        spec = DagSpec("d", (TaskSpec("t", 'say "hi" \\'),))
        assert 'label="t\\nsay \\"hi\\" \\\\"' in to_dot(picture_of(spec, {}))


class TestMermaid:
    def test_ids_are_numbers_and_texts_are_coded(self):
        spec = DagSpec("d", (TaskSpec("end", 'a"]; click t0'), TaskSpec("u", "@task", upstream=("end",))))
        text = to_mermaid(picture_of(spec, {}))
        assert '  t0("end<br/><small>a#34;#93;#59; click t0</small>")' in text
        assert "  t0 --> t1" in text

    def test_groups_stand_in_each_other(self):
        text = to_mermaid(picture_of(SPEC, {}))
        assert re.search(r'  subgraph g0\["load"\]\n    t1\(.*\)\n    subgraph g1\["deep"\]\n', text)
        assert '-->|"when done"|' in text


class TestCommand:
    @pytest.fixture
    def drawn(self, database):
        DatabaseDagStore(database).save(ParsedFile("etl.py", "hash", (SPEC,)))

    @pytest.mark.parametrize(
        ("name", "begins"), [("x.svg", "<svg "), ("x.dot", 'digraph "etl" {'), ("x.mmd", '---\ntitle: "etl"')]
    )
    def test_the_files_name_says_the_format(self, hybrid, drawn, tmp_path, name, begins):
        file = tmp_path / name
        assert hybrid("dags", "show", "etl", "--save", str(file)).out == f"{file} saved\n"
        assert file.read_text().startswith(begins)

    def test_dot_goes_to_stdout_as_in_airflow(self, hybrid, drawn):
        assert hybrid("dags", "show", "etl").out.startswith('digraph "etl" {')
        assert hybrid("dags", "show", "etl", "--format", "svg").out.startswith("<svg ")

    def test_what_it_refuses(self, hybrid, drawn, tmp_path, monkeypatch):
        assert "say --format, or end the file's name in one of .dot" in hybrid("dags", "show", "etl", "-s", "x.txt").err
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "needs Graphviz, and there is no `dot` here" in hybrid("dags", "show", "etl", "-s", "x.png").err
        assert "x.svg cannot be written: No such file" in hybrid("dags", "show", "etl", "-s", "/nowhere/x.svg").err
        assert hybrid("dags", "show", "elt").err.startswith("hybrid: there is no DAG 'elt', did you mean 'etl'?")
