"""The reporter and its client alone: how they treat what servers and networks do."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest

from runtime.core.messages import (
    Done,
    Finish,
    Finished,
    Heartbeat,
    HeartbeatReply,
    Start,
    Started,
    XComPull,
    XComPush,
    XComValues,
    decode_reply,
    encode,
)
from runtime.core.task_api import PREFIX
from runtime.worker.api_client import ApiClient
from runtime.worker.credentials import Credentials
from runtime.worker.endpoint import Endpoint, parse_endpoint
from runtime.worker.http_reporter import HttpReporter
from runtime.worker.linux import boottime
from runtime.worker.loop import Loop

BEAT = Heartbeat("a", "n")
GO_ON = encode(HeartbeatReply(True))
PUSH = XComPush("a", "n", "k", msgspec.Raw(b"1"))
ONE_OF_EACH = [
    (Start("a", "n", "host", 1, 1, "boot"), Started(False, "no (HTTP 400)")),
    (BEAT, HeartbeatReply(False, "no (HTTP 400)")),
    (Finish("a", "n", "success"), Finished(False, reason="no (HTTP 400)")),
    (XComPull("a", "n", ("t",)), XComValues(reason="no (HTTP 400)")),
    (PUSH, Done(False, "no (HTTP 400)")),
]


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Scripted:
    """A server whose connections each follow a script: answer so many requests, then close."""

    def __init__(self, *scripts: list[bytes], greedy: bool = True) -> None:
        self.heads: list[bytes] = []
        self._scripts = scripts
        self._greedy = greedy
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint(False, "127.0.0.1", self._socket.getsockname()[1], PREFIX)
        self._thread = threading.Thread(target=self._serve, name="scripted")
        self._thread.start()

    def _serve(self) -> None:
        for script in self._scripts:
            connection, _ = self._socket.accept()
            with connection:
                for reply in script:
                    self._read(connection)
                    connection.sendall(reply)

    def _read(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        while self._greedy and len(body) < length:
            body += connection.recv(65_536)

    def close(self) -> None:
        self._thread.join()
        self._socket.close()


@contextmanager
def served(*scripts: list[bytes], timeout: float = 5.0, greedy: bool = True) -> Iterator[tuple[ApiClient, Scripted]]:
    server = Scripted(*scripts, greedy=greedy)
    client = ApiClient(server.endpoint, Credentials("ticket"), timeout)
    try:
        yield client, server
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize(("request_", "reply"), ONE_OF_EACH)
def test_a_refusal_has_the_type_that_its_asker_expects(request_, reply):
    with served([answer(400, b'{"detail": "no"}')]) as (client, _):
        told = client.ask(request_)
    assert told.reply is not None
    assert decode_reply(told.reply) == reply


def test_the_path_names_the_attempt_and_what_is_asked():
    with served([answer(200, GO_ON)]) as (client, server):
        client.ask(BEAT)
    assert server.heads[0].startswith(b"POST /execution/v1/attempts/a/heartbeat HTTP/1.1\r\n")


def test_requests_share_a_connection():
    with served([answer(200, GO_ON)] * 3) as (client, server):
        assert [client.ask(BEAT).reply for _ in range(3)] == [GO_ON] * 3
    assert len(server.heads) == 3


def test_a_kept_connection_that_is_closed_is_replaced_at_once():
    with served([answer(200, GO_ON)], [answer(200, GO_ON)]) as (client, _):
        assert [client.ask(BEAT).reply for _ in range(2)] == [GO_ON] * 2


def test_a_fresh_connection_that_is_closed_is_not_tried_twice():
    with served([]) as (client, _):
        assert client.ask(BEAT).reply is None


def test_a_connection_that_the_server_wants_closed_is_closed():
    with served([answer(200, GO_ON, "Connection: close")], [answer(200, GO_ON)]) as (client, _):
        assert [client.ask(BEAT).reply for _ in range(2)] == [GO_ON] * 2


def test_an_answer_before_the_body_was_read_counts():
    """As a proxy does with a body that is too large for it."""
    large = msgspec.structs.replace(PUSH, value=msgspec.Raw(b'"' + b"x" * 8_000_000 + b'"'))
    with served([answer(413, b'{"detail": "too large"}')], greedy=False) as (client, _):
        told = client.ask(large)
    assert told.reply is not None
    assert decode_reply(told.reply) == Done(False, "too large (HTTP 413)")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (answer(500, b'{"detail": "no database"}'), "HTTP 500: no database"),
        (answer(503, b""), "HTTP 503"),
        (answer(429, b'{"detail": "slowly"}'), "HTTP 429: slowly"),
        (answer(404, b"<h1>Not Found</h1>"), "HTTP 404"),
        (answer(307, b"", "Location: /elsewhere"), "HTTP 307"),
        (answer(200, b"<h1>Welcome</h1>"), "HTTP 200 without an answer: is this the URL of a task API?"),
        (answer(200, b"{}"), "HTTP 200 without an answer: is this the URL of a task API?"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 50\r\n\r\nhalf", "IncompleteRead"),
    ],
)
def test_what_says_nothing_is_told_in_words(raw, problem):
    with served([raw]) as (client, _):
        assert client.ask(BEAT) == (None, problem)


def test_a_server_that_is_silent_is_waited_for_no_longer_than_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ApiClient(Endpoint(False, "127.0.0.1", silent.getsockname()[1], ""), Credentials("t"), 0.2)
        assert client.ask(BEAT) == (None, "no answer in time")
        client.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_a_host_that_does_not_exist_is_no_exception(host):
    told = ApiClient(Endpoint(False, host, 80, ""), Credentials("t"), 1.0).ask(BEAT)
    assert told.reply is None
    assert told.problem


def test_a_start_that_is_granted_without_a_token_is_asked_for_again():
    with served([answer(200, encode(Started(True)))]) as (client, _):
        assert client.ask(ONE_OF_EACH[0][0]) == (None, "the start was granted without a token")


# -- the thread


@pytest.fixture
def reporting(api) -> Iterator[tuple[HttpReporter, Loop, list[str]]]:
    """A reporter whose launch no attempt knows; what it said."""
    loop, said = Loop(), []
    credentials = Credentials(api.tokens.start_ticket("a", 60.0))
    credentials.renew(api.tokens.running_token("a", "n"), boottime())
    reporter = HttpReporter(
        lambda: ApiClient(parse_endpoint(api.url), credentials, 1.0), loop, patience=2.0, say=said.append
    )
    yield reporter, loop, said
    reporter.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "task API"] == []


def turn_until(loop: Loop, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        loop.turn(0.1)


def test_no_thread_runs_before_the_first_request(reporting):
    reporter, loop, _ = reporting
    assert "task API" not in [thread.name for thread in threading.enumerate()]
    answers: list[object] = []
    reporter.send(BEAT, answers.append)
    assert "task API" in [thread.name for thread in threading.enumerate()]
    turn_until(loop, lambda: bool(answers))


def test_answers_come_in_the_loop_and_in_order(reporting):
    reporter, loop, _ = reporting
    answers: list[tuple[int, object]] = []
    threads: set[int] = set()
    for number in range(5):

        def heard(reply, number=number):
            threads.add(threading.get_ident())
            answers.append((number, reply))

        reporter.send(BEAT, heard)
    turn_until(loop, lambda: len(answers) == 5)
    assert [number for number, _ in answers] == list(range(5))
    assert all(reply == HeartbeatReply(False, "there is no such attempt", gone=True) for _, reply in answers)
    assert threads == {threading.get_ident()}


def test_an_api_that_is_away_is_none_and_is_told_of_once(reporting, api):
    reporter, loop, said = reporting
    api.down()
    answers: list[object] = []
    reporter.send(BEAT, answers.append)
    reporter.send(BEAT, answers.append)
    turn_until(loop, lambda: len(answers) == 2)
    assert answers == [None, None]
    assert said == ["the task API gives no answer: Connection refused; trying again"]
    api.up()
    reporter.send(BEAT, answers.append)
    turn_until(loop, lambda: len(answers) == 3)
    assert said[1:] == ["the task API answers again"]


def test_a_relayed_request_waits_for_the_api_while_others_pass_it(reporting, api):
    reporter, loop, _ = reporting
    api.down()
    bodies: list[bytes] = []
    answers: list[object] = []
    reporter.relay(PUSH, bodies.append)
    reporter.send(BEAT, answers.append)
    turn_until(loop, lambda: bool(answers))
    assert bodies == []
    api.up()
    turn_until(loop, lambda: bool(bodies))
    assert decode_reply(bodies[0]) == Done(False, "there is no such attempt")


def test_a_relayed_request_is_answered_with_the_reason_in_the_end(reporting, api):
    reporter, loop, _ = reporting
    api.down()
    bodies: list[bytes] = []
    reporter.relay(PUSH, bodies.append)
    turn_until(loop, lambda: bool(bodies))
    assert decode_reply(bodies[0]) == Done(False, "no answer for 2 s: Connection refused")


def test_closing_while_the_api_hangs_ends_within_a_moment_and_leaves_no_descriptor_to_reuse(api):
    """The thread stays behind with its bell; a file that is opened next must not get its number."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint(False, "127.0.0.1", silent.getsockname()[1], "")
        reporter = HttpReporter(
            lambda: ApiClient(endpoint, Credentials("t"), 3.0), Loop(), patience=1.0, say=lambda text: None
        )
        reporter.send(BEAT, lambda reply: None)
        bell = reporter.fileno()
        reporter.close()
        os.fstat(bell)
        thread = next(thread for thread in threading.enumerate() if thread.name == "task API")
        thread.join(30)
    assert not thread.is_alive()
    os.close(bell)
