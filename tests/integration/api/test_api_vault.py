"""Connections and variables over HTTP: for the attempt whose token it is, while it runs."""

from __future__ import annotations

import json

import pytest
from calling import Caller

from runtime.config import Settings
from runtime.core import messages as m
from runtime.db.connections import add_connection
from runtime.db.variables import save_variable
from runtime.secrets.connection import Connection
from runtime.secrets.keyring import Keyring
from runtime.tokens.tokens import Tokens
from tests.database.builders import World, task


@pytest.fixture
def filled(world: World, options: Settings) -> None:
    keyring = Keyring(options.home)
    with world.database.write() as connection:
        save_variable(connection, keyring, "v", "CANARY-v")
        add_connection(connection, keyring, Connection("c", "x", password="CANARY-c"))


def questions(attempt: str, nonce: str = "n1") -> list[m.SecretRequest]:
    return [
        m.VariableGet(attempt, nonce, "v"),
        m.ConnectionGet(attempt, nonce, "c"),
        m.VariableSet(attempt, nonce, "v", "changed"),
        m.VariableDelete(attempt, nonce, "w"),
    ]


def test_a_running_attempt_is_answered(api: Caller, filled: None, running: str, tokens: Tokens) -> None:
    token = tokens.running_token(running, "n1")
    variable, connection, done, gone = (api.ask(one, token) for one in questions(running))
    assert [one.status for one in (variable, connection, done, gone)] == [200] * 4
    assert variable.reply.value == "CANARY-v"
    assert json.loads(connection.reply.value)["password"] == "CANARY-c"
    assert (done.reply.accepted, gone.reply.value) == (True, None)
    assert {one.headers["Cache-Control"] for one in (variable, connection)} == {"no-store"}


def test_nobody_else_is(api: Caller, filled: None, world: World, running: str, tokens: Tokens) -> None:
    """Another attempt's token, another launch's, a start ticket, none; and the attempt's own after its end."""
    other = world.queue(next(iter(world.begin(task("other")).instances.values())))
    world.start(other, "n1")
    ticket = tokens.start_ticket(running, 60.0)
    for token, status in (
        (tokens.running_token(other, "n1"), 403),
        (tokens.running_token(running, "n2"), 403),
        (ticket, 403),
        ("", 401),
    ):
        answers = [api.ask(one, token) for one in questions(running)]
        assert [one.status for one in answers] == [status] * 4
        assert "CANARY" not in f"{[one.body for one in answers]}"
    world.finish(running)
    late = [api.ask(one, tokens.running_token(running, "n1")) for one in questions(running)]
    assert [one.status for one in late] == [409] * 4
    assert "CANARY" not in f"{[one.body for one in late]}"
