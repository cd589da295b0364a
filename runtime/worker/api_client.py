"""Asks the task API over HTTP (:mod:`runtime.core.task_api`): one kept connection, one request at a time.

Goes straight to the configured host: proxies of the environment are not used.
"""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple

import msgspec

from executors.local.channel import MAX_FRAME
from runtime.core.messages import Request, Start, Started, decode_reply, encode
from runtime.core.task_api import TOKEN_HEADER, action_path
from runtime.worker.credentials import Credentials
from runtime.worker.endpoint import Endpoint
from runtime.worker.linux import boottime
from runtime.worker.reporter import refusal

_LONGEST_DETAIL = 500
_BROKEN = (ConnectionError, HTTPException)
"""What a kept connection that the server has closed meanwhile meets at its next use."""
_SLOWEST = 2**20
"""Bytes per second that a large body may take beyond the timeout: a network may be slow, and yet get there."""
_ANSWERS = (200, 409, 410)
_AGAIN = (408, 429)


class Told(NamedTuple):
    """What one request came to."""

    reply: bytes | None
    """Encoded; ``None`` where nothing is known and the request may be sent again."""
    problem: str = ""
    """Why the server's answer is not known, in a few words; empty where it is."""


def new_connection(endpoint: Endpoint, timeout: float) -> HTTPConnection:
    """Connects when it is first used, and again after it was closed.

    :param timeout: seconds that connecting may take.
    """
    factory = HTTPSConnection if endpoint.encrypted else HTTPConnection
    return factory(endpoint.host, endpoint.port, timeout=timeout)


class ApiClient:
    """For one attempt. Not thread-safe.

    :param timeout: seconds that connecting, and each wait for the server, may take.
    :param kept: somebody else's connection, which stays open for the next attempt; by default one of its own.
    """

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, timeout: float, kept: HTTPConnection | None = None
    ) -> None:
        self._connection = kept or new_connection(endpoint, timeout)
        self._is_kept = kept is not None
        self._timeout = timeout
        self._path = endpoint.path
        self._credentials = credentials

    def ask(self, request: Request) -> Told:
        """Send the request and say what came of it. Blocks; raises nothing."""
        asked_at = boottime()
        try:
            response, body = self._exchange(request)
            told = self._understand(request, response, body, asked_at)
        except Exception as error:
            self.close()
            told = Told(None, _in_words(error))
        if told.reply is None and not isinstance(request, Start) and self._credentials.expired:
            no = refusal(request, f"this launch's token has expired: {told.problem}")
            return Told(encode(no), told.problem)
        return told

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()

    def leave(self) -> None:
        """There is nothing more to ask."""
        if not self._is_kept:
            self.close()

    def _exchange(self, request: Request) -> tuple[HTTPResponse, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._send(request)
        except _BROKEN:
            if not kept:
                raise
        # The connection was kept too long. Every request may be repeated: its nonce says that it is the same launch.
        self.close()
        return self._send(request)

    def _send(self, request: Request) -> tuple[HTTPResponse, bytes]:
        connection, data = self._connection, encode(request)
        path = self._path + action_path(request.attempt_id, request.__struct_config__.tag)  # type: ignore[arg-type]
        headers = {"Authorization": self._credentials.header(request), "Content-Type": "application/json"}
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(self._timeout + len(data) / _SLOWEST)
        # A server that dislikes the head may answer and close before it has read the body.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", path, data, headers)
        response = connection.getresponse()
        return response, response.read()

    def _understand(self, request: Request, response: HTTPResponse, body: bytes, asked_at: float) -> Told:
        status = response.status
        if status in _ANSWERS:
            return self._answered(request, response, body, asked_at)
        detail = _detail(body)
        if detail and 400 <= status < 500 and status not in _AGAIN:
            return Told(encode(refusal(request, f"{detail} (HTTP {status})")))
        return Told(None, f"HTTP {status}: {detail}" if detail else f"HTTP {status}")

    def _answered(self, request: Request, response: HTTPResponse, body: bytes, asked_at: float) -> Told:
        try:
            reply = decode_reply(body)
        except msgspec.DecodeError:
            return Told(None, f"HTTP {response.status} without an answer: is this the URL of a task API?")
        token = response.getheader(TOKEN_HEADER, "")
        renewed = self._credentials.renew(token, asked_at)
        if isinstance(reply, Started) and reply.granted and not renewed:
            return Told(None, "the start was granted without a token")
        if len(body) > MAX_FRAME:
            return Told(encode(refusal(request, f"the answer has {len(body)} bytes, at most {MAX_FRAME} can be read")))
        return Told(body)


class _Detail(msgspec.Struct):
    detail: str


def _detail(body: bytes) -> str:
    """Of an error answer, on one line; empty where it is not one of the task API's."""
    try:
        text = msgspec.json.decode(body, type=_Detail).detail
    except msgspec.DecodeError:
        return ""
    return " ".join(text.split())[:_LONGEST_DETAIL]


def _in_words(error: Exception) -> str:
    """Only what is known to quote no header."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__
