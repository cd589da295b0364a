"""The API server's refusals: ``Status`` objects with the wording of the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.kubernetes_api.http import Response

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong; ``reason`` is e.g. ``FieldValueRequired``, ``message`` goes without the field."""

    field: str
    reason: str
    message: str


class ApiError(Exception):
    """What the request is answered with instead."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        details = dict(details or {})
        if retry_after is not None:
            details["retryAfterSeconds"] = retry_after
        why = REASONS.get(code, "Unknown") if reason is None else reason
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(metadata or {}),
            "status": "Failure",
            "message": message,
            **({"reason": why} if why else {}),
            **({"details": details} if details else {}),
            "code": code,
        }

    def response(self) -> Response:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Response(self.code, self.status, headers)


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized")


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """``why``: ``User "…" cannot …``, or ``exceeded quota: …``."""
    subject = f'{resource} "{name}"' if name else resource
    details = {**({"name": name} if name else {}), "kind": resource}
    return ApiError(403, f"{subject} is forbidden: {why}", details=details)


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, f'{resource} "{name}" not found', details={"name": name, "kind": resource})


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource", details={})


def already_exists(resource: str, name: str) -> ApiError:
    return ApiError(
        409, f'{resource} "{name}" already exists', reason="AlreadyExists", details={"name": name, "kind": resource}
    )


def conflict(resource: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, message, details={"name": name, "kind": resource})


def modified(resource: str, name: str) -> ApiError:
    """Optimistic concurrency: the object is newer than what the writer has read."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def gone(message: str, continue_: str | None = None) -> ApiError:
    """The history that is asked for was compacted."""
    return ApiError(410, message, metadata=None if continue_ is None else {"continue": continue_})


def invalid(kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    what = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {
        **({"name": name} if name else {}),
        "kind": kind,
        "causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes],
    }
    return ApiError(422, f'{kind} "{name}" is invalid: {what}', details=details)


def unsupported_media_type() -> ApiError:
    return ApiError(415, "415: Unsupported Media Type")
