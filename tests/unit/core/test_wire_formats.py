"""What crosses a process boundary comes back as it was: messages of workers, DAGs of the parse child."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core import messages as m
from runtime.core import specs

text = st.text(max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
seconds = st.floats(allow_nan=False, allow_infinity=False)
value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=6,
)
raw = value.map(lambda found: msgspec.Raw(json.dumps(found, separators=(",", ":")).encode()))
context = st.builds(
    m.RunContext,
    *[text] * 3,
    *[number] * 4,
    *[text] * 3,
    number,
    logical_date=st.none() | number,
    conf=st.dictionaries(text, value, max_size=3),
)
requests = st.one_of(
    st.builds(m.Start, text, text, text, number, number, text, text),
    st.builds(m.Heartbeat, text, text),
    st.builds(m.Finish, text, text, text, text, st.booleans(), seconds, raw | st.just(msgspec.UNSET)),
    st.builds(m.XComPull, text, text, st.lists(text).map(tuple), text, st.none() | number, text, text),
    st.builds(m.XComPush, text, text, text, raw),
)
replies = st.one_of(
    st.builds(m.Started, st.booleans(), text, st.none() | context),
    st.builds(m.HeartbeatReply, st.booleans(), text),
    st.builds(m.Finished, st.booleans(), text, text),
    st.builds(m.XComValues, st.lists(st.tuples(text, number, raw)).map(tuple), text),
    st.builds(m.Done, st.booleans(), text),
)


@given(requests)
def test_request_comes_back_as_it_was(request: m.Request) -> None:
    assert m.encode(again := m.decode_request(m.encode(request))) == m.encode(request)
    assert type(again) is type(request)


@given(replies)
def test_reply_comes_back_as_it_was(reply: m.Reply) -> None:
    assert m.encode(again := m.decode_reply(m.encode(reply))) == m.encode(reply)
    assert type(again) is type(reply)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"start"}',
        b'{"type":"nothing","attempt_id":"a","nonce":"n"}',
        b'{"type":"started","granted":true}',
        b'{"type":"heartbeat","attempt_id":7,"nonce":"n"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        m.decode_request(data)


def test_null_and_nothing_returned_are_two_answers() -> None:
    none = m.Finish("a", "n", "success", return_value=msgspec.Raw(b"null"))
    nothing = m.Finish("a", "n", "success")
    assert bytes(m.decode_request(m.encode(none)).return_value) == b"null"  # type: ignore[union-attr, arg-type]
    assert m.decode_request(m.encode(nothing)).return_value is msgspec.UNSET  # type: ignore[union-attr]


tasks = st.builds(
    specs.TaskSpec,
    text,
    text,
    upstream=st.lists(text).map(tuple),
    retries=number,
    retry_delay=seconds,
    execution_timeout=st.none() | seconds,
    executor=st.none() | text,
    executor_config=st.dictionaries(text, value, max_size=2),
    empty=st.booleans(),
)
dags = st.builds(
    specs.DagSpec,
    text,
    st.lists(tasks, max_size=3).map(tuple),
    timetable=st.builds(specs.TimetableSpec, text, text, seconds, text, timezone=text, summary=text),
    start_date=st.none() | number,
    params=st.dictionaries(text, value, max_size=2),
    tags=st.lists(text).map(tuple),
    dagrun_timeout=st.none() | seconds,
)


@given(dags)
def test_dag_comes_back_as_it_was(spec: specs.DagSpec) -> None:
    assert specs.decode_dag(specs.encode(spec)) == spec


@given(st.builds(specs.ParsedFile, text, text, st.lists(dags, max_size=2).map(tuple), st.none() | text))
def test_parsed_file_comes_back_as_it_was(parsed: specs.ParsedFile) -> None:
    assert specs.decode_file(specs.encode(parsed)) == parsed


def test_a_spec_of_a_newer_version_is_read_without_what_is_new() -> None:
    """A rollback must still read what the newer program stored."""
    assert specs.decode_dag(b'{"dag_id":"d","tasks":[],"from_the_future":1}') == specs.DagSpec("d", ())


def test_what_is_no_dag_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="dag_id"):
        specs.decode_dag(b"{}")
