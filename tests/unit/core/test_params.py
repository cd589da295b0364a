"""Params against their JSON schemas, where a run is made."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.core.params import ParamError, check_conf, check_schema

SCHEMAS: dict[str, dict[str, Any]] = {
    "n": {"type": "integer", "minimum": 1},
    "when": {"type": "string", "format": "date-time"},
    "rows": {"type": "array", "items": {"type": "object", "required": ["id"]}},
    "way": {"enum": ["left", "right"]},
}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"n": 0}, "DAG d: param 'n' = 0: 0 is less than the minimum of 1 (rule minimum: 1)"),
        ({"n": "3"}, "DAG d: param 'n' = '3': '3' is not of type 'integer' (rule type: 'integer')"),
        ({"when": "soon"}, "DAG d: param 'when' = 'soon': 'soon' is not a 'date-time' (rule format: 'date-time')"),
        ({"way": None}, "DAG d: param 'way' = None: None is not one of ['left', 'right'] (rule enum: "
                        "['left', 'right'])"),
        ({"rows": [{"id": 1}, {}]}, "DAG d: param 'rows' = [{'id': 1}, {}]: at [1], 'id' is a required property (rule "
                                    "required: ['id'])"),
        ({"n": "x" * 1000}, f"DAG d: param 'n' = '{'x' * 78}…: '{'x' * 78}… (rule type: 'integer')"),
    ],
)  # fmt: skip
def test_the_error_names_param_value_and_rule(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError) as caught:
        check_conf("DAG d", {"n": 1, "when": None, "rows": [], "way": "left"}, SCHEMAS, conf)
    assert str(caught.value) == message


def test_values_that_are_allowed_and_names_without_a_schema() -> None:
    conf = {"n": 3, "when": "2026-03-01T00:00:00+01:00", "rows": [{"id": 1}], "way": "right", "other": object()}
    check_conf("DAG d", {}, SCHEMAS, conf)


def test_a_param_without_a_value_must_be_given() -> None:
    with pytest.raises(ParamError, match=r"DAG d: param 'n' has no value; give it in the run's conf, \{'n': …\}"):
        check_conf("DAG d", {}, {"n": {"type": "integer"}}, {"m": 1})
    check_conf("DAG d", {"n": 1}, {"n": {"type": "integer"}}, {})


def test_what_is_no_schema_is_named() -> None:
    with pytest.raises(ParamError, match=r"param 'x': its schema\['type'\] is no JSON schema: 'intege'"):
        check_schema("param 'x'", {"type": "intege"})
