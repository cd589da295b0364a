"""The task routes (:mod:`runtime.core.task_api`): a plain ASGI application, for every running task calls it often."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import get_args

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime.api.batching import Batcher, UnavailableError
from runtime.api.bodies import Bodies, TooLargeError
from runtime.api.responses import HEADERS, refusal
from runtime.core.messages import (
    Done,
    HeartbeatReply,
    Reply,
    Request,
    Secret,
    Start,
    Started,
    TriggeredRun,
    VariableSet,
    XComPush,
    XComValues,
    decode_reply,
    decode_request,
)
from runtime.core.task_api import MAX_BODY, PREFIX, TOKEN_HEADER, Action
from runtime.tokens.tokens import RUN, START, Claims, InvalidTokenError, Tokens, WrongScopeError

log = logging.getLogger(__name__)

_PATH = re.compile(re.escape(PREFIX) + rf"/attempts/([^/]{{1,100}})/({'|'.join(get_args(Action))})")
_AGAIN = {"Retry-After": "1"}
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class RefusedError(Exception):
    """An answer that the service is not asked for."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.response = refusal(status, detail, headers)


class TaskRoutes:
    """An ASGI application."""

    def __init__(self, batcher: Batcher, tokens: Tokens) -> None:
        self._batcher = batcher
        self._tokens = tokens
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        match = _PATH.fullmatch(scope["path"])
        attempt_id, action = match.groups() if match else ("", "")
        try:
            response = await self._respond(scope, receive, attempt_id, action)
        except RefusedError as refused:
            response = refused.response
        except TooLargeError:
            response = refusal(413, f"a body may have {MAX_BODY} bytes")
        except UnavailableError as error:
            response = refusal(503, str(error), _AGAIN)
        except asyncio.CancelledError:
            # Only the end of the server cancels: its patience with this request is over.
            response = refusal(503, "the server stops", _AGAIN)
        _tell(scope, attempt_id, action, response.status_code, time.perf_counter() - began)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, attempt_id: str, action: str) -> Response:
        if not action:
            raise RefusedError(404, "there is no such path")
        if scope["method"] != "POST":
            raise RefusedError(405, "only POST is understood here", {"Allow": "POST"})
        claims = authorize(self._tokens, Headers(scope=scope).get("authorization", ""), attempt_id, action)
        with self._bodies.room() as room:
            data = await room.read(receive)
            request = read_request(data, attempt_id, action)
            if not isinstance(request, Start) and request.nonce != claims.nonce:
                raise RefusedError(403, "the token belongs to another launch of this attempt")
            reply = await self._batcher(data)
        return self._answer(request, reply)

    def _answer(self, request: Request, data: bytes) -> Response:
        reply = decode_reply(data)
        status = status_of(request, reply)
        if status == 500:
            raise RefusedError(500, "the request could not be carried out; the server's log says more")
        headers = HEADERS
        if status == 200 and isinstance(reply, Started | HeartbeatReply):
            token = self._tokens.running_token(request.attempt_id, request.nonce)
            headers = {**HEADERS, TOKEN_HEADER: token}
        return Response(data, status, headers, "application/json")


def authorize(tokens: Tokens, header: str, attempt_id: str, action: str) -> Claims:
    """Check the ``Authorization`` header. Raises :class:`RefusedError` with 401 or 403."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise RefusedError(401, "a bearer token is needed", _CHALLENGE)
    try:
        claims = tokens.check(token.strip(), START if action == "start" else RUN)
    except InvalidTokenError as error:
        raise RefusedError(401, str(error), _CHALLENGE) from None
    except WrongScopeError as error:
        raise RefusedError(403, str(error)) from None
    if claims.subject != attempt_id:
        raise RefusedError(403, "the token belongs to another attempt")
    return claims


def read_request(data: bytes, attempt_id: str, action: str) -> Request:
    """The body as what the path says that it is. Raises :class:`RefusedError` with 400."""
    try:
        request = decode_request(data)
        data.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RefusedError(400, f"the body is no request: {reason}") from None
    if request.attempt_id != attempt_id:
        raise RefusedError(400, "the body names another attempt than the path")
    if request.__struct_config__.tag != action:
        raise RefusedError(400, f"the body is a {request.__struct_config__.tag}, the path says {action}")
    return request


def status_of(request: Request, reply: Reply) -> int:
    """The status that carries this reply; 500 where the service itself failed."""
    if isinstance(reply, Done) and not isinstance(request, XComPush | VariableSet):
        return 500
    if isinstance(reply, HeartbeatReply):
        return 200 if reply.go_on else 410 if reply.gone else 409
    if isinstance(reply, XComValues | Secret | TriggeredRun):
        return 409 if reply.reason else 200
    return 200 if (reply.granted if isinstance(reply, Started) else reply.accepted) else 409


def _tell(scope: Scope, attempt_id: str, action: str, status: int, seconds: float) -> None:
    """A line of our own: uvicorn's would hold the path as it came, which anybody may fill with anything."""
    level = logging.DEBUG if status < 400 else logging.INFO
    if log.isEnabledFor(level):
        client = scope["client"][0] if scope.get("client") else "?"
        target = f"{action} of {attempt_id!r}" if action else "no route"
        log.log(level, "%s %s %s: %d, %.1f ms", client, scope["method"], target, status, 1000 * seconds)
