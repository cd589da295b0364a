"""A token is good for one purpose, one subject and a while; nothing else is accepted, whatever it says of itself."""

from __future__ import annotations

import base64
import json
import re

import jwt
import pytest

from runtime.tokens.tokens import LOG, RUN, START, InvalidTokenError, Tokens, WrongScopeError

KEY = b"k" * 64
NOW = 1_800_000_000.0
ATTEMPT = "01999999-0000-7000-8000-000000000001"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(KEY, lifetime=600, clock=clock)


def claims(**changes: object) -> dict[str, object]:
    full = {"aud": RUN, "sub": ATTEMPT, "iat": int(NOW), "exp": int(NOW) + 600, "nonce": "n"} | changes
    return {name: value for name, value in full.items() if value is not None}


def test_each_kind_says_whose_it_is(tokens: Tokens) -> None:
    assert tokens.check(tokens.start_ticket(ATTEMPT, 10), START) == (ATTEMPT, "")
    assert tokens.check(tokens.running_token(ATTEMPT, "n1"), RUN) == (ATTEMPT, "n1")
    assert tokens.check(tokens.log_token("dag_id=d/attempt=1.log"), LOG) == ("dag_id=d/attempt=1.log", "")


@pytest.mark.parametrize("audience", [RUN, LOG])
def test_another_purpose_is_another_audience(tokens: Tokens, audience: str) -> None:
    with pytest.raises(WrongScopeError):
        tokens.check(tokens.start_ticket(ATTEMPT, 10), audience)  # type: ignore[arg-type]


def test_it_is_good_for_its_lifetime_only(tokens: Tokens, clock: Clock) -> None:
    ticket, running = tokens.start_ticket(ATTEMPT, 30), tokens.running_token(ATTEMPT, "n")
    clock.now += 30
    tokens.check(ticket, START)
    clock.now += 2
    with pytest.raises(InvalidTokenError, match="has expired"):
        tokens.check(ticket, START)
    clock.now += 568
    tokens.check(running, RUN)
    clock.now += 2
    with pytest.raises(InvalidTokenError, match="has expired"):
        tokens.check(running, RUN)


def test_a_clock_that_is_a_little_behind_does_no_harm(tokens: Tokens, clock: Clock) -> None:
    """The API server's host may lag behind the scheduler's."""
    ticket = tokens.start_ticket(ATTEMPT, 30)
    clock.now -= 20
    tokens.check(ticket, START)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jwt.encode(claims(), b"x" * 64, "HS512"), id="another key"),
        pytest.param(jwt.encode(claims(), KEY, "HS256"), id="another algorithm, our key"),
        pytest.param(jwt.encode(claims(), None, "none"), id="alg none"),
        pytest.param(jwt.encode(claims(sub=None), KEY, "HS512"), id="no subject"),
        pytest.param(jwt.encode(claims(exp=None), KEY, "HS512"), id="no expiry"),
        pytest.param(jwt.encode(claims(exp="never"), KEY, "HS512"), id="expiry that is no number"),
        pytest.param(jwt.encode(claims(iat=None), KEY, "HS512"), id="no time of issue"),
        pytest.param(jwt.encode(claims(), KEY, "HS512")[:-2], id="cut"),
        pytest.param("", id="empty"),
        pytest.param("garbage", id="garbage"),
        pytest.param("a.b.c", id="three parts of garbage"),
        pytest.param("\u00e9\u0000." * 3, id="no ASCII"),
    ],
)
def test_forged_and_broken_ones_are_worth_nothing(tokens: Tokens, token: str) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        tokens.check(token, RUN)
    assert token == "" or token not in str(caught.value)


def test_a_changed_claim_breaks_the_signature(tokens: Tokens) -> None:
    head, _, signature = tokens.running_token(ATTEMPT, "n").split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(sub="another")).encode()).decode().rstrip("=")
    with pytest.raises(InvalidTokenError):
        tokens.check(f"{head}.{body}.{signature}", RUN)


def test_the_key_is_not_shown(tokens: Tokens) -> None:
    assert "k" * 8 not in f"{tokens!r} {tokens}"


def test_a_keys_id_tells_keys_apart_and_holds_nothing_of_them():
    """Short on purpose: what is shown of a key that somebody thought of must not confirm a guess for certain."""
    one, same, other = (Tokens(key).key_id() for key in (KEY, KEY, b"K" * 64))
    assert one == same != other
    assert re.fullmatch("HS512 [0-9a-f]{6}", one)
    assert KEY.hex()[:6] not in one
