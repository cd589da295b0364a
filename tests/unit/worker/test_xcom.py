"""XCom values: what is taken, and what the refusal says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.worker import xcom
from runtime.worker.xcom import XComValueError, decode_value, encode_value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_json_value_comes_back_as_it_was(value):
    assert decode_value(encode_value(value, "task t returned")) == value


@given(JSON)
def test_what_is_sent_is_plain_ascii_json(value):
    assert json.loads(bytes(encode_value(value, "task t returned")).decode("ascii")) == value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({1}, "a set"),
        (b"x", "a bytes"),
        (object(), "an object"),
        (datetime(2026, 1, 1, tzinfo=UTC), "a datetime"),
        (float("nan"), "the float nan"),
        ([1, {"a": (float("inf"),)}], "the float inf at [1]['a'][0]"),
        ({"deep": [{1}]}, "a set at ['deep'][0]"),
        ({(1, 2): 3}, "a tuple at one of its keys"),
        ({"x": {(1, 2): 3}}, "a tuple at a key of ['x']"),
    ],
)
def test_anything_else_is_refused_with_type_and_place(value, complaint):
    with pytest.raises(XComValueError) as caught:
        encode_value(value, "task t returned")
    assert str(caught.value) == f"task t returned {complaint}; XCom takes JSON values"


def test_a_circle_is_refused():
    circle = []
    circle.append(circle)
    with pytest.raises(XComValueError, match=r"task t returned a list \(Circular reference detected\); XCom takes"):
        encode_value(circle, "task t returned")


def test_a_value_that_is_too_deep_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(XComValueError, match="XCom takes JSON values"):
        encode_value(value, "task t returned")


def test_a_value_that_is_too_large_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(xcom, "LARGEST", 10)
    with pytest.raises(XComValueError, match="task t returned 12 bytes of JSON; XCom takes at most 10: store it"):
        encode_value("x" * 10, "task t returned")
