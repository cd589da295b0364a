"""Whoever lacks the right token is told 401 or 403, and the database does not change."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from calling import KEY, Caller, path_of

from runtime.core import messages as m
from runtime.core.ids import uuid7
from runtime.db.schema import event, run_inbox, xcom
from runtime.tokens.tokens import LOG, RUN, START, Tokens
from tests.database.builders import World, start

REQUESTS: dict[str, Callable[[str], m.Request]] = {
    "start": lambda attempt: start(attempt, "n1"),
    "heartbeat": lambda attempt: m.Heartbeat(attempt, "n1"),
    "finish": lambda attempt: m.Finish(attempt, "n1", "success"),
    "xcom_push": lambda attempt: m.XComPush(attempt, "n1", "k", msgspec.Raw(b"1")),
    "xcom_pull": lambda attempt: m.XComPull(attempt, "n1", ("t",)),
}


def audience(action: str) -> str:
    return START if action == "start" else RUN


def forge(algorithm: str, claims: dict[str, Any], key: bytes = KEY, **header: Any) -> str:
    """A token by hand: a library would refuse to make most of these."""
    parts = [json.dumps({"typ": "JWT", "alg": algorithm, **header}).encode(), json.dumps(claims).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    digests = {"HS512": hashlib.sha512, "HS256": hashlib.sha256, "HS384": hashlib.sha384}
    digest = digests.get(algorithm)
    signature = hmac.new(key, signed, digest).digest() if digest else b""
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def claims(attempt: str, action: str, **other: Any) -> dict[str, Any]:
    """Those of a good token."""
    good = {"sub": attempt, "aud": audience(action), "iat": int(time.time()), "exp": int(time.time()) + 60}
    made = good | ({} if action == "start" else {"nonce": "n1"}) | other
    return {name: value for name, value in made.items() if value is not None}


WORTHLESS: dict[str, Callable[[str, str], str | None]] = {
    "none at all": lambda attempt, action: None,
    "empty": lambda attempt, action: "",
    "no token": lambda attempt, action: "garbage",
    "dots": lambda attempt, action: "..",
    "not base64": lambda attempt, action: "é.é.é".encode().decode("latin-1"),
    "very long": lambda attempt, action: "a" * 10_000,
    "alg none": lambda attempt, action: forge("none", claims(attempt, action)),
    "alg None": lambda attempt, action: forge("None", claims(attempt, action)),
    "HS256 with the same key": lambda attempt, action: forge("HS256", claims(attempt, action)),
    "HS384 with the same key": lambda attempt, action: forge("HS384", claims(attempt, action)),
    "another key": lambda attempt, action: forge("HS512", claims(attempt, action), KEY[::-1]),
    "an empty key": lambda attempt, action: forge("HS512", claims(attempt, action), b""),
    "a key of the header": lambda attempt, action: forge("HS512", claims(attempt, action), b"k" * 64, jwk={"k": "aw"}),
    "expired": lambda attempt, action: forge("HS512", claims(attempt, action, exp=int(time.time()) - 1)),
    "without subject": lambda attempt, action: forge("HS512", claims(attempt, action, sub=None)),
    "without audience": lambda attempt, action: forge("HS512", claims(attempt, action, aud=None)),
    "without end": lambda attempt, action: forge("HS512", claims(attempt, action, exp=None)),
    "without beginning": lambda attempt, action: forge("HS512", claims(attempt, action, iat=None)),
    "subject of another type": lambda attempt, action: forge("HS512", claims(attempt, action, sub=[attempt])),
    "end of another type": lambda attempt, action: forge("HS512", claims(attempt, action, exp="never")),
}
FOREIGN: dict[str, Callable[[str, str], str]] = {
    "another attempt's": lambda attempt, action: forge("HS512", claims(uuid7(), action)),
    "another purpose's": lambda attempt, action: forge(
        "HS512", claims(attempt, action, aud=RUN if action == "start" else START)
    ),
    "a log's": lambda attempt, action: forge("HS512", claims(attempt, action, aud=LOG)),
    "an audience beside": lambda attempt, action: forge("HS512", claims(attempt, action, aud="hybrid:startrun")),
    "empty subject": lambda attempt, action: forge("HS512", claims(attempt, action, sub="")),
}


def everything(world: World) -> tuple[Any, ...]:
    return (world.ti("t"), world.attempts("t"), world.rows(event), world.rows(run_inbox), world.rows(xcom))


@pytest.fixture(params=list(REQUESTS))
def request_to_steal(request, world, queued) -> m.Request:
    """One that its own token would get an answer to."""
    if request.param != "start":
        assert world.start(queued).granted
    return REQUESTS[request.param](queued)


def action_of(request: m.Request) -> str:
    return str(request.__struct_config__.tag)


def test_a_forged_good_token_is_good(api: Caller, request_to_steal):
    """What the tables below vary: without it they would prove nothing."""
    token = forge("HS512", claims(request_to_steal.attempt_id, action_of(request_to_steal)))
    assert api.ask(request_to_steal, token).status == 200


def test_worthless_tokens_are_401_and_change_nothing(api: Caller, world, request_to_steal):
    before = everything(world)
    for name, make in WORTHLESS.items():
        token = make(request_to_steal.attempt_id, action_of(request_to_steal))
        answer = api.post(path_of(request_to_steal), m.encode(request_to_steal), token)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), name
        assert answer.token is None
        assert not token or token not in answer.json["detail"]
    assert everything(world) == before


def test_foreign_tokens_are_403_and_change_nothing(api: Caller, world, request_to_steal):
    before = everything(world)
    for name, make in FOREIGN.items():
        answer = api.ask(request_to_steal, make(request_to_steal.attempt_id, action_of(request_to_steal)))
        assert answer.status == 403, name
        assert answer.token is None
    assert everything(world) == before


def test_a_ticket_is_no_running_token_and_a_running_token_no_ticket(api: Caller, world, queued):
    ticket, token = api.tokens.start_ticket(queued, 60), api.tokens.running_token(queued, "n1")
    assert api.ask(start(queued, "n1"), token).status == 403
    assert world.attempt(queued).state == "queued"
    assert api.ask(start(queued, "n1"), ticket).status == 200
    for request in (m.Heartbeat(queued, "n1"), m.Finish(queued, "n1", "success")):
        assert api.ask(request, ticket).status == 403
    assert world.attempt(queued).state == "running"


def test_the_token_of_one_launch_does_not_speak_for_another(api: Caller, world, running):
    other = api.tokens.running_token(running, "n2")
    before = everything(world)
    for name in ("heartbeat", "finish", "xcom_push", "xcom_pull"):
        assert api.ask(REQUESTS[name](running), other).status == 403
    assert everything(world) == before


def test_a_token_minted_long_ago_has_expired(api: Caller, running):
    old = Tokens(KEY, lifetime=60, clock=lambda: time.time() - 120).running_token(running, "n1")
    answer = api.ask(m.Heartbeat(running, "n1"), old)
    assert (answer.status, answer.json["detail"]) == (401, "the token has expired")


@pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", "Bearer ", "bearertoken", "Token x", ""])
def test_other_schemes_are_401(api: Caller, queued, header):
    request = start(queued)
    answer = api.send("POST", "/execution/v1" + path_of(request), m.encode(request), {"Authorization": header})
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_the_scheme_may_be_written_in_any_case(api: Caller, queued):
    request = start(queued)
    headers = {"Authorization": f"bEARER  {api.token_for(request)}"}
    assert api.send("POST", "/execution/v1" + path_of(request), m.encode(request), headers).status == 200


def test_a_token_is_looked_at_before_the_body(api: Caller, queued):
    """Nobody without one makes the server read, or say what it thinks of a body."""
    assert api.post(f"/attempts/{queued}/start", b"no json", "garbage").status == 401
    with api.open() as connection:
        connection.sendall(
            f"POST /execution/v1/attempts/{queued}/start HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
