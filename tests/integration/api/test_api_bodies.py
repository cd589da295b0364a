"""Bodies that are wrong, too large or too slow, and what that means for everybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest
from calling import Caller, path_of, status_of

from runtime.core import messages as m
from runtime.core.ids import uuid7
from runtime.core.task_api import MAX_BODY
from runtime.db.schema import xcom
from tests.database.builders import start

BAD = {
    "empty": b"",
    "no json": b"start",
    "cut": b'{"type":"start","attempt_id":',
    "a list": b"[]",
    "a number": b"1",
    "no type": b"{}",
    "another type": b'{"type":"stop"}',
    "two objects": b"{}{}",
    "missing fields": b'{"type":"start"}',
    "nul bytes": b"\0" * 100,
    "not utf-8": b'{"type":"start","attempt_id":"\xff\xfe","nonce":"n"}',
    "a deep nest": b"[" * 1_000_000,
    "a deep nest inside": b'{"type":"finish","return_value":' + b"[" * 1_000_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_is_no_request_is_400_with_one_line(api: Caller, queued: str, body):
    answer = api.post(f"/attempts/{queued}/start", body, api.tokens.start_ticket(queued, 60))
    assert answer.status == 400
    assert answer.json["detail"].startswith("the body is no request: ")
    assert "\n" not in answer.json["detail"]
    assert len(answer.json["detail"]) < 300


def test_a_value_that_is_not_utf8_is_400(api: Caller, world, running: str):
    body = json.dumps({"type": "xcom_push", "attempt_id": running, "nonce": "n1", "key": "k", "value": "V"})
    answer = api.post(
        f"/attempts/{running}/xcom_push", body.encode().replace(b"V", b"\xff"), api.tokens.running_token(running, "n1")
    )
    assert answer.status == 400
    assert world.rows(xcom) == []


def test_the_path_and_the_body_must_name_the_same_attempt(api: Caller, world, queued: str):
    other = uuid7()
    answer = api.post(path_of(start(other)), m.encode(start(queued)), api.tokens.start_ticket(other, 60))
    assert answer.status == 400
    assert world.attempt(queued).state == "queued"


def test_the_path_and_the_body_must_name_the_same_action(api: Caller, world, running: str):
    finish = m.Finish(running, "n1", "success")
    answer = api.post(path_of(m.Heartbeat(running, "n1")), m.encode(finish), api.token_for(finish))
    assert answer.status == 400
    assert world.attempt(running).state == "running"


def test_a_return_value_of_nearly_the_limit_is_stored(api: Caller, world, running: str):
    value = b'"' + b"x" * (MAX_BODY - 1_000) + b'"'
    assert api.ask(m.Finish(running, "n1", "success", return_value=msgspec.Raw(value))).status == 200
    (row,) = world.rows(xcom)
    assert len(row.value) == len(value)


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 2**20 + 1):
        yield b"x" * 2**20


@pytest.mark.parametrize("in_chunks", [False, True])
def test_more_than_the_limit_is_413_and_the_server_lives(api: Caller, world, running: str, in_chunks):
    body = chunks(MAX_BODY) if in_chunks else b"x" * (MAX_BODY + 1)
    answer = api.post(f"/attempts/{running}/finish", body, api.tokens.running_token(running, "n1"))
    assert answer.status == 413
    assert str(MAX_BODY) in answer.json["detail"]
    assert api.ask(m.Heartbeat(running, "n1")).status == 200
    assert world.attempt(running).state == "running"


def test_a_client_that_dawdles_holds_up_nobody(api: Caller, running: str):
    """Its head is there and its body is not; others are answered, and then it is."""
    beat = m.encode(m.Heartbeat(running, "n1"))
    with api.open() as slow:
        slow.sendall(api.raw_head(m.Heartbeat(running, "n1"), f"Content-Length: {len(beat)}"))
        slow.sendall(beat[:10])
        assert api.ask(m.Heartbeat(running, "n1")).status == 200
        slow.sendall(beat[10:])
        assert status_of(slow) == 200


def test_a_client_that_takes_too_long_is_told_to_come_again(api: Caller, running: str, monkeypatch):
    monkeypatch.setattr("runtime.api.bodies.BODY_SECONDS", 0.05)
    with api.open() as slow:
        slow.sendall(api.raw_head(m.Heartbeat(running, "n1"), "Content-Length: 100"))
        assert status_of(slow) == 503


def test_large_bodies_at_once_are_bounded(api: Caller, running: str, monkeypatch, wait_until):
    """One client holds all the room there is; the next one is told to come again, and can once the room is free."""
    monkeypatch.setattr("runtime.api.bodies.MOST_HELD", 100_000)
    beat = m.Heartbeat(running, "n1")
    with api.open() as hog:
        hog.sendall(api.raw_head(beat, "Content-Length: 200000") + b" " * 99_999)
        wait_until(lambda: api.ask(beat).status == 503)
    wait_until(lambda: api.ask(beat).status == 200)


def test_a_client_that_goes_away_in_the_middle_changes_nothing(api: Caller, world, running: str):
    report = m.Finish(running, "n1", "success")
    with api.open() as gone:
        gone.sendall(api.raw_head(report, "Content-Length: 1000") + m.encode(report))
    assert api.ask(m.Heartbeat(running, "n1")).status == 200
    assert world.attempt(running).state == "running"


@pytest.mark.parametrize("text", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n"])
def test_what_is_no_http_is_400(api: Caller, text):
    with api.open() as connection:
        connection.sendall(text + b"\r\n\r\n")
        assert status_of(connection) == 400
