"""Every status of the contract, from a real server."""

from __future__ import annotations

import msgspec
import pytest
from calling import Answer, Caller

from runtime.core import messages as m
from runtime.core.ids import uuid7
from runtime.core.states import AttemptState
from runtime.core.task_api import PREFIX
from runtime.db.hints import open_hints
from runtime.db.schema import xcom
from runtime.db.transitions import Batch
from runtime.tokens.tokens import RUN, Claims
from runtime.version import VERSION
from tests.database.builders import World, start


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def replace_attempt(world: World, instance) -> None:
    """What the scheduler does with a lost attempt: it is over, and the task waits for a new one."""
    world.refresh(instance)
    batch = Batch(world.at, "test")
    batch.end_attempt(instance.attempt_id, AttemptState.LOST, "gone")
    batch.schedule(instance.subject, same_try=True, infra_losses=1, reason="gone")
    with world.database.write() as connection:
        batch.write(connection)


def bears_the_common_headers(answer: Answer) -> bool:
    wanted = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json"}
    return all(answer.headers[name] == value for name, value in wanted.items()) and not answer.headers["Server"]


# -- start


def test_a_granted_start_brings_context_and_a_running_token(api: Caller, queued: str, tokens):
    answer = api.ask(start(queued, "n1"))
    assert answer.status == 200
    assert answer.reply.granted
    assert answer.reply.context.task_id == "t"
    assert tokens.check(answer.token, RUN) == Claims(queued, "n1")
    assert bears_the_common_headers(answer)


def test_the_same_launch_may_ask_again_another_one_is_refused_without_a_token(api: Caller, queued: str):
    first, again, other = (api.ask(start(queued, nonce)) for nonce in ("n1", "n1", "n2"))
    assert (first.status, again.status, other.status) == (200, 200, 409)
    assert again.token
    assert other.token is None
    assert not other.reply.granted
    assert "running" in other.reply.reason
    assert bears_the_common_headers(other)


def test_start_of_an_attempt_that_nobody_knows_is_refused(api: Caller):
    answer = api.ask(start(uuid7()))
    assert (answer.status, answer.reply.reason) == (409, "there is no such attempt")


# -- heartbeat


def test_a_heartbeat_brings_a_new_token(api: Caller, running: str, tokens):
    answer = api.ask(m.Heartbeat(running, "n1"))
    assert (answer.status, answer.reply) == (200, m.HeartbeatReply(True))
    assert tokens.check(answer.token, RUN) == Claims(running, "n1")


def test_a_heartbeat_of_an_attempt_that_is_over_is_gone(api: Caller, world, instance, running: str):
    replace_attempt(world, instance)
    answer = api.ask(m.Heartbeat(running, "n1"))
    assert answer.status == 410
    assert answer.reply.gone
    assert not answer.reply.go_on
    assert answer.token is None


def test_a_heartbeat_of_a_launch_that_was_not_granted_the_start_is_refused(api: Caller, running: str):
    answer = api.ask(m.Heartbeat(running, "n2"))
    assert answer.status == 409
    assert not answer.reply.gone
    assert answer.token is None


# -- finish


def test_a_finish_is_taken_once_and_may_be_repeated(api: Caller, world, running: str):
    report = m.Finish(running, "n1", "success", return_value=raw('{"rows": 3}'))
    first, again = api.ask(report), api.ask(report)
    assert (first.status, first.reply.state) == (200, "success")
    assert again.status == 200
    assert [row.value for row in world.rows(xcom)] == ['{"rows": 3}']
    assert first.token is None


def test_a_finish_that_contradicts_the_first_one_is_refused(api: Caller, world, running: str):
    assert api.ask(m.Finish(running, "n1", "success")).status == 200
    answer = api.ask(m.Finish(running, "n1", "failed"))
    assert (answer.status, answer.reply.accepted) == (409, False)
    assert world.ti("t").state == "success"


def test_a_finish_wakes_the_schedulers(api: Caller, options, database, running: str, wait_until):
    hints = open_hints(options, database, "scheduler")
    try:
        assert api.ask(m.Heartbeat(running, "n1")).status == 200
        assert not hints.drain()
        assert api.ask(m.Finish(running, "n1", "success")).status == 200
        wait_until(hints.drain)
    finally:
        hints.close()


# -- XComs


def test_xcoms_are_pushed_and_pulled(api: Caller, running: str):
    assert api.ask(m.XComPush(running, "n1", "k", raw("[1,2]"))).reply == m.Done(True)
    answer = api.ask(m.XComPull(running, "n1", ("t",), key="k"))
    assert answer.status == 200
    assert answer.reply.values == (("t", -1, raw("[1,2]")),)


def test_xcoms_of_an_attempt_that_is_over_are_refused(api: Caller, running: str):
    assert api.ask(m.Finish(running, "n1", "success")).status == 200
    pushed = api.ask(m.XComPush(running, "n1", "k", raw("1")))
    pulled = api.ask(m.XComPull(running, "n1", ("t",)))
    assert (pushed.status, pulled.status) == (409, 409)
    assert "over" in pushed.reply.reason
    assert "over" in pulled.reply.reason


def test_what_the_service_cannot_carry_out_is_a_500_that_says_nothing(api: Caller, queued: str):
    """A number that no column can hold."""
    answer = api.ask(start(queued, "n1", pid_started=2**63 - 1, pid=2**63))
    assert answer.status == 500
    assert answer.json.keys() == {"detail"}
    assert api.ask(start(queued, "n1")).status == 200


# -- paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/api/v2",
        "/api/v2/dags",
        "/api/v2/version/",
        PREFIX,
        f"{PREFIX}/attempts/x",
        f"{PREFIX}/attempts/x/stop",
        f"{PREFIX}/attempts/x/y/start",
        f"{PREFIX}/attempts//start",
        f"{PREFIX}/attempts/x/start/",
        "/%2e%2e/etc/passwd",
        "/\x7f%0d%0aX: y",
    ],
)
def test_any_other_path_is_404_in_json(api: Caller, path):
    for method in ("GET", "POST"):
        answer = api.get(path.replace("\x7f", "%7f").replace(" ", "%20"), method)
        assert (answer.status, answer.json) == (404, {"detail": "there is no such path"})
        assert bears_the_common_headers(answer)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_a_wrong_method_is_405_and_says_the_right_one(api: Caller, queued: str, method):
    answer = api.get(f"{PREFIX}/attempts/{queued}/start", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert bears_the_common_headers(answer)


def test_health_is_not_to_be_posted_to(api: Caller):
    assert api.get("/api/v2/monitor/health", "POST").status == 405


def test_version(api: Caller):
    answer = api.get("/api/v2/version")
    assert (answer.status, answer.json) == (200, {"version": VERSION, "git_version": None})
    assert bears_the_common_headers(answer)
