"""Requests for callbacks: what they hold, and what is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from executors import CallbackRequest, TaskInstanceKey

KEY = TaskInstanceKey("d", "t", "r", 2, 5, attempt_id="a")


@pytest.mark.parametrize("kind", CallbackRequest.KINDS)
def test_survives_a_round_trip(kind: Any):
    request = CallbackRequest(KEY, kind, "two\nlines “and” \0")
    assert CallbackRequest.from_json(request.to_json()) == request
    assert CallbackRequest.from_json(request.to_json()).key.attempt_id == "a"


BAD: list[tuple[tuple[Any, ...], str]] = [
    (("key",), "names a TaskInstanceKey, not 'key'"),
    ((KEY, "on_failure"), "is one of task_failure, task_retry, task_success, not 'on_failure'"),
    ((KEY, "task_failure", b"why"), "message of a callback request is text, not b'why'"),
]


@pytest.mark.parametrize(("fields", "reason"), BAD)
def test_rubbish_is_refused(fields: tuple[Any, ...], reason: str):
    with pytest.raises(ValueError, match=reason):
        CallbackRequest(*fields)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": {}, "kind": "task_failure"}', "null"])
def test_other_json_is_refused(text: str):
    with pytest.raises(msgspec.DecodeError):
        CallbackRequest.from_json(text)


def test_text_that_no_utf8_can_hold_is_a_value_error():
    with pytest.raises(ValueError, match="surrogates"):
        CallbackRequest(KEY, message="\ud800").to_json()
