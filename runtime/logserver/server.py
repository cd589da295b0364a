"""``GET /log/PATH``: one attempt log of this host, for the bearer of a token whose subject is exactly that path.

========== ==================================================================================
200        the file from ``?offset=N`` (default 0) to its end as it is now: ask again with the
           sum of both to follow it; the header ``Log-Size`` has its size
400        ``offset`` is no whole number
401, 403   no valid token; a token for something else
404        no attempt log of that path (also for a link, a folder, any other file)
405, 431   another method than GET; a request of more than 16 KiB
503        as many readers as it serves at once are there already
========== ==================================================================================

By the standard library's ``http.server``, a thread for each reader, for it should take little memory on every host.
Whatever a reader does, or leaves undone, ends by a limit: of bytes, of seconds, of readers.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from runtime.log.attempt_logs import open_for_reading
from runtime.tokens.tokens import LOG, InvalidTokenError, Tokens, WrongScopeError

log = logging.getLogger(__name__)

PREFIX = "/log/"
SIZE_HEADER = "Log-Size"
MOST_READERS = 32
LONGEST_HEAD = 16_384
"""Bytes of request line and headers; a token and a path have less than 3,000."""
HEAD_SECONDS = 5.0
"""For the whole head to arrive, however slowly it drips."""
IDLE_SECONDS = 15.0
"""That a reader may take nothing while it is served."""
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class LogServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """:param listener: a socket that listens; closed by :meth:`server_close`.

    :param folder: ``[logging] base_log_folder``.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, folder: Path, tokens: Tokens) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.folder = folder
        self.tokens = tokens
        self._places = threading.Semaphore(MOST_READERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:
                self._places.release()
                raise
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("%s went away: %s", client_address[0], sys.exception())


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request, one answer."""

    server: LogServer
    server_version = "hybrid"
    sys_version = ""
    default_request_version = "HTTP/1.0"
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        self.requestline = self.request_version = self.command = ""
        self.close_connection = True
        try:
            self._answer()
        except _RefusedError as refused:
            self.send_error(refused.status, refused.detail)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        body = json.dumps({"detail": message or HTTPStatus(code).phrase}).encode()
        self.send_response(code)
        if code == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self._end_head("application/json", len(body))
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
        log.debug("%s %s", self.client_address[0], format % args)

    def _answer(self) -> None:
        self.rfile = io.BytesIO(_read_head(self.connection))
        self.connection.settimeout(IDLE_SECONDS)
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        if self.command != "GET":
            raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "logs are only read")
        raw, _, query = self.path.partition("?")
        path = unquote(raw).removeprefix(PREFIX)
        self._check_token(path)
        if not raw.startswith(PREFIX):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such path")
        self._send(path, _offset(query))

    def _check_token(self, path: str) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "a token for this log is needed")
        try:
            claims = self.server.tokens.check(token.strip(), LOG)
        except InvalidTokenError as error:
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, str(error)) from None
        except WrongScopeError as error:
            raise _RefusedError(HTTPStatus.FORBIDDEN, str(error)) from None
        if claims.subject != path:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "the token is for another log")

    def _send(self, path: str, offset: int) -> None:
        try:
            descriptor = open_for_reading(self.server.folder, path)
        except FileNotFoundError:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such log on this host") from None
        except OSError as error:
            log.warning("%s cannot be read: %s", path, error.strerror)
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"it cannot be read: {error.strerror}") from None
        with open(descriptor, "rb", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            count = max(0, size - offset)
            self.send_response(HTTPStatus.OK)
            self.send_header(SIZE_HEADER, str(size))
            self._end_head("text/plain; charset=utf-8", count)
            if count:
                # No more than was announced: the attempt may be writing on.
                self.connection.sendfile(file, offset, count)

    def _end_head(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()


def _read_head(connection: socket.socket) -> bytes:
    """Everything up to the empty line. Raises :class:`_RefusedError` where it is too long, ``OSError`` too late."""
    deadline = time.monotonic() + HEAD_SECONDS
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        if len(head) > LONGEST_HEAD:
            raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {LONGEST_HEAD} bytes")
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(4096)
        if not data:
            break
        head += data
    return head


def _offset(query: str) -> int:
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "offset" or not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "there is only ?offset=N, a whole number of bytes")
    return int(value)
