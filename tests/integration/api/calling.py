"""A client of the task API that can also misbehave."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from runtime.core import messages as m
from runtime.core.task_api import PREFIX, TOKEN_HEADER, action_path
from runtime.tokens.tokens import Tokens

KEY = b"a key of the tests, long enough for SHA-512: " * 2


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reply(self) -> Any:
        """As a message of the protocol."""
        return m.decode_reply(self.body)

    @property
    def token(self) -> str | None:
        return self.headers[TOKEN_HEADER]


class Caller:
    """Speaks to the server at ``url``, which ends in ``/execution/v1``."""

    def __init__(self, url: str, tokens: Tokens) -> None:
        self.url = url
        self.tokens = tokens
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.path == PREFIX
        self.address = (parts.hostname, parts.port)

    def get(self, path: str, method: str = "GET") -> Answer:
        return self.send(method, path, b"", {})

    def post(self, path: str, body: Any = b"", token: str | None = None) -> Answer:
        """``path`` below the prefix; a body that iterates goes in chunks."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.send("POST", PREFIX + path, body, headers)

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """One request on a connection of its own."""
        connection = HTTPConnection(*self.address, timeout=60)
        with closing(connection):
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def ask(self, request: m.Request, token: str | None = None) -> Answer:
        """Send a request of the protocol where it belongs; with the right token unless another one is given."""
        return self.post(path_of(request), m.encode(request), self.token_for(request) if token is None else token)

    def token_for(self, request: m.Request) -> str:
        if isinstance(request, m.Start):
            return self.tokens.start_ticket(request.attempt_id, 60)
        return self.tokens.running_token(request.attempt_id, request.nonce)

    def open(self) -> socket.socket:
        """A connection of which the test writes every byte."""
        return socket.create_connection(self.address, 60)

    def raw_head(self, request: m.Request, *more: str) -> bytes:
        """The beginning of a request, up to its body."""
        lines = [
            f"POST {PREFIX}{path_of(request)} HTTP/1.1",
            "Host: test",
            f"Authorization: Bearer {self.token_for(request)}",
            *more,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def path_of(request: m.Request) -> str:
    return action_path(request.attempt_id, request.__struct_config__.tag)  # type: ignore[arg-type]


def status_of(connection: socket.socket) -> int:
    """Of the answer that comes first."""
    line = b""
    while b"\r\n" not in line:
        got = connection.recv(65_536)
        assert got, "the connection was closed without an answer"
        line += got
    return int(line.split(b" ", 2)[1])
