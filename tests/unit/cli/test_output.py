"""Formats: table, json, yaml, plain."""

from __future__ import annotations

import json

import pytest

from runtime.cli.output import emit, emit_one, to_yaml

RECORDS = [
    {"dag_id": "a", "count": 1, "none": None, "tags": ["x", "y"], "more": "kept"},
    {"dag_id": "longer", "count": 22, "none": None, "tags": [], "more": "kept"},
]
COLUMNS = ("dag_id", "count", "none", "tags")


def test_json_keeps_types_and_all_keys(capsys):
    emit(RECORDS, "json", COLUMNS)
    assert json.loads(capsys.readouterr().out) == RECORDS


def test_plain_is_aligned_text_without_borders(capsys):
    emit(RECORDS, "plain", COLUMNS)
    assert capsys.readouterr().out == "dag_id  count  none  tags\na       1            x, y\nlonger  22\n"


def test_table_off_a_terminal_is_wide_and_has_no_escapes(capsys):
    emit([{"text": "w" * 150}], "table", ("text",))
    out = capsys.readouterr().out
    assert "w" * 150 in out
    assert "\x1b" not in out


def test_table_of_nothing_says_so_and_json_of_nothing_is_a_list(capsys):
    emit([], "table", COLUMNS)
    emit([], "json", COLUMNS)
    assert capsys.readouterr().out == "No data found\n[]\n"


def test_table_takes_square_brackets_as_text(capsys):
    emit([{"text": "[red]x[/red] [/nonsense]"}], "table", ("text",))
    assert "[red]x[/red] [/nonsense]" in capsys.readouterr().out


def test_one_record_is_a_line_per_key(capsys):
    emit_one({"a": 1, "long": None}, "table")
    assert capsys.readouterr().out == "a     1\nlong\n"


def test_yaml_of_records(capsys):
    emit(RECORDS[:1], "yaml", COLUMNS)
    lines = ["- dag_id: a", "  count: 1", "  none: null", "  tags:", "    - x", '    - "y"', "  more: kept"]
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain_word", "plain_word"),
        ("yes", '"yes"'),
        ("12", '"12"'),
        ("a: b", '"a: b"'),
        ("", '""'),
        ("é\n", '"é\\n"'),
        ("😀", '"😀"'),
        ([], "[]"),
        ({}, "{}"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": {"b": [1]}}, "a:\n  b:\n    - 1"),
        ([[1, 2], {"x": 1}], "- - 1\n  - 2\n- x: 1"),
    ],
)
def test_yaml_quotes_what_could_mean_something_else(value, text):
    assert to_yaml(value) == text
