"""Who gets which log from a log server, and what it makes of everything else."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import ExitStack, closing
from urllib.parse import quote

import jwt
import pytest

from runtime.logserver import server as module
from runtime.logserver.client import LogUnavailableError, fetch_log
from runtime.tokens.tokens import Tokens
from tests.integration.logserver.conftest import PATH, TEXT, Served

TARGET = "/log/" + quote(PATH)


def test_the_bearer_of_a_token_for_a_log_gets_it(served: Served):
    assert served.fetch() == TEXT


def test_a_reader_follows_a_growing_log(served: Served):
    size = len(served.fetch())
    assert served.fetch(offset=size) == b"", "nothing new is no error"
    with (served.folder / PATH).open("ab") as file:
        file.write(b"third\n")
    assert served.fetch(offset=size) == b"third\n"
    assert served.fetch(offset=10**12) == b""
    answer = served.ask(f"GET {TARGET} HTTP/1.0\r\nAuthorization: Bearer {served.token}\r\n\r\n".encode())
    assert f"Log-Size: {size + 6}\r\n".encode() in answer


def test_a_large_log_arrives_whole(served: Served):
    data = os.urandom(8 * 2**20)
    (served.folder / PATH).write_bytes(data)
    assert served.fetch() == data


def test_an_empty_log_is_empty(served: Served):
    (served.folder / PATH).write_bytes(b"")
    assert served.fetch() == b""


def test_without_a_token_nobody_learns_what_exists(served: Served):
    for target in (TARGET, "/log/dag_id=no/run_id=r/task_id=t/attempt=1.log", "/", "/log/", "/log/../../etc/passwd"):
        assert served.get(target)[0] == 401
    for header in ("Authorization: Basic eDp5\r\n", "Authorization: Bearer\r\n", "Authorization: x\r\n"):
        assert served.get(TARGET, header=header)[0] == 401


def test_tokens_that_are_none(served: Served):
    claims = {"aud": "hybrid:log", "sub": PATH, "iat": 1, "exp": 2**40}
    tokens = {
        "another key": Tokens(b"x" * 64).log_token(PATH),
        "no algorithm": jwt.encode(claims, None, algorithm="none"),
        "another algorithm": jwt.encode(claims, b"k" * 64, algorithm="HS256"),
        "expired": Tokens(b"k" * 64, clock=lambda: 1_000).log_token(PATH),
        "without an end": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, b"k" * 64, algorithm="HS512"),
        "words": "not.a.token",
    }
    for kind, token in tokens.items():
        status, body = served.get(TARGET, token=token)
        assert status == 401, kind
        assert token.encode() not in body


def test_tokens_for_something_else(served: Served):
    tokens = {
        "a ticket": served.tokens.start_ticket(PATH, 60),
        "a running token": served.tokens.running_token(PATH, "n"),
        "a folder above": served.tokens.log_token(PATH.rpartition("/")[0]),
        "a prefix": served.tokens.log_token(PATH[:-1]),
        "a longer one": served.tokens.log_token(PATH + "x"),
        "the same with a slash": served.tokens.log_token("/" + PATH),
        "nothing": served.tokens.log_token(""),
    }
    for kind, token in tokens.items():
        assert served.get(TARGET, token=token)[0] == 403, kind


@pytest.mark.parametrize(
    "path",
    [
        "dag_id=d/run_id=r/task_id=t/attempt=9.log",
        "../../../../etc/passwd",
        "dag_id=d/../../secret",
        "",
        "dag_id=d",
        "dag_id=d/run_id=manual__2026-01-01T00:00:00+00:00/task_id=t",
        "dag_id=d/run_id=manual__2026-01-01T00:00:00+00:00/task_id=t/link.log",
    ],
)
def test_a_token_signed_for_what_is_no_log_opens_nothing(served: Served, path):
    (served.folder.parent / "secret").write_text("no")
    (served.folder / PATH).with_name("link.log").symlink_to(served.folder / PATH)
    status, body = served.get("/log/" + quote(path), token=served.tokens.log_token(path))
    assert (status, json.loads(body)) == (404, {"detail": "there is no such log on this host"})


def test_a_link_in_the_place_of_a_log_is_not_followed(served: Served):
    (served.folder / PATH).unlink()
    (served.folder / PATH).symlink_to("/etc/passwd")
    assert served.get(TARGET, token=served.token)[0] == 404


def test_paths_beside_log(served: Served):
    assert served.get("/" + quote(PATH), token=served.token)[0] in (403, 404)
    assert served.get("/log//" + quote(PATH), token=served.token)[0] == 403
    assert served.get("/%6cog/" + quote(PATH), token=served.token)[0] == 404
    assert served.get("/log/" + quote(quote(PATH)), token=served.token)[0] == 403, "decoded once"


def test_nothing_but_reading(served: Served):
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        answer = served.ask(f"{method} {TARGET} HTTP/1.1\r\nAuthorization: Bearer {served.token}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.0 405 "), method
        assert b"Allow: GET\r\n" in answer
    assert (served.folder / PATH).read_bytes() == TEXT


@pytest.mark.parametrize(
    "query", ["offset=", "offset=-1", "offset=1&x=2", "offset=0x1", "x=1", "offset=²", "offset=" + "9" * 19]
)
def test_offsets_that_are_none(served: Served, query):
    assert served.get(f"{TARGET}?{quote(query, safe='=&')}", token=served.token)[0] == 400


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", None),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /log/x HTTP/9.9\r\n\r\n", 505),
        (b"GET /log/x HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_gets_an_answer_and_harms_nobody(served: Served, request_, status):
    answer = served.ask(request_)
    if status is not None:
        assert answer.startswith(f"HTTP/1.0 {status} ".encode())
    assert served.fetch() == TEXT


def test_a_request_that_never_ends_is_cut_off(served: Served):
    answer = served.ask(b"GET /log/x HTTP/1.1\r\nX: " + b"y" * (module.LONGEST_HEAD + 4096))
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_a_request_that_never_comes_is_given_up(served: Served, monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    assert served.ask(b"GET /log/x HT") == b""
    assert served.fetch() == TEXT


def test_more_readers_than_places_are_sent_away_and_may_come_again(served: Served, wait):
    with ExitStack() as stack:
        for _ in range(module.MOST_READERS):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", served.port))))
        wait(lambda: served.server._places._value == 0)
        with pytest.raises(LogUnavailableError, match="503|reset|closed"):
            served.fetch()
    wait(lambda: served.server._places._value == module.MOST_READERS)
    assert served.fetch() == TEXT


def test_a_reader_that_goes_away_leaves_nothing_behind(served: Served, wait):
    (served.folder / PATH).write_bytes(b"x" * 2**24)
    before = len(os.listdir("/proc/self/fd"))
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(f"GET {TARGET} HTTP/1.0\r\nAuthorization: Bearer {served.token}\r\n\r\n".encode())
    assert connection.recv(100)
    connection.close()
    wait(lambda: served.server._places._value == module.MOST_READERS)
    wait(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_no_answer_names_the_library(served: Served):
    assert b"Python" not in served.ask(b"GET / HTTP/1.0\r\n\r\n")


class TestClient:
    """What the asking side says where there is nothing to be had."""

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(LogUnavailableError, match=f"no log server answers on 127.0.0.1:{port}: Connection refused"):
            fetch_log("127.0.0.1", port, PATH, "t")

    def test_no_such_host(self):
        with pytest.raises(LogUnavailableError, match="no log server answers on no.such.host.invalid:1: "):
            fetch_log("no.such.host.invalid", 1, PATH, "t")

    def test_it_is_refused(self, served: Served):
        with pytest.raises(LogUnavailableError, match="says 403: the token is for another log") as caught:
            fetch_log("127.0.0.1", served.port, PATH, served.tokens.log_token("x"))
        assert "eyJ" not in str(caught.value)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nab", "broke off after 2 bytes"),
            (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0"),
            (b"", "answers"),
            (b"HTTP/1.0 418 Teapot\r\n\r\n<h1>no\nway</h1>", "says 418: <h1>no way</h1>"),
        ],
    )
    def test_something_else_listens(self, answer, words):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(LogUnavailableError, match=words):
                fetch_log("127.0.0.1", listener.getsockname()[1], PATH, "t")
            thread.join()

    def test_nobody_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(LogUnavailableError, match="timed out"):
            fetch_log("127.0.0.1", listener.getsockname()[1], PATH, "t", timeout=0.05)
