"""What the Kubernetes client, urllib3 and the API server answer, in our words: one line without a token.

Caught nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from executors.errors import ExecutorConfigError, ExecutorError

_LONGEST = 500
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\"]+"), r"\1 ***"),
    (re.compile(r"//[^/@\s]+@"), "//***@"),
)


class KubernetesError(ExecutorError):
    """Anything that goes wrong between this executor and a cluster."""


class ClusterConfigError(KubernetesError, ExecutorConfigError):
    """No cluster can be made out of the options: no service account, no such context, a broken kubeconfig."""


class PodConfigError(KubernetesError):
    """A pod cannot be built: the template or the attempt's ``executor_config`` is wrong."""


class ClusterUnreachableError(KubernetesError):
    """The API server gave no answer: refused, cut off, no TLS. Whatever was asked may have happened or not."""


class ClusterTimeoutError(ClusterUnreachableError):
    """It did not answer in time."""


class ApiError(KubernetesError):
    """The API server answered with an error.

    :param status: of HTTP.
    :param reason: one word for a machine, such as ``AlreadyExists``; empty where the server gave none.
    :param message: the server's own, for a person.
    :param retry_after: seconds before it wants to be asked again.
    """

    def __init__(self, what: str, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{what}: the API server answers {status}{f' {reason}' if reason else ''}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def is_quota(self) -> bool:
        """It may work once something else of the namespace has ended."""
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def already_exists(self) -> bool:
        """An object of that name is there, as opposed to a conflict between two writers."""
        return self.status == 409 and self.reason == "AlreadyExists"


class ForbiddenError(ApiError):
    """401, 403: who we are is not known or not allowed to. A quota is a plain :class:`ApiError`."""


class NotFoundError(ApiError):
    """404"""


class ConflictError(ApiError):
    """409: the object exists, was changed by another writer, or is not the one with the ``uid`` that was named."""


class GoneError(ApiError):
    """410: the ``resourceVersion`` or the page asked for is too old; list again."""


class ThrottledError(ApiError):
    """429: too many requests."""


class ServerError(ApiError):
    """5xx"""


_KINDS = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: ThrottledError,
}


def api_error(what: str, status: int, body: bytes, headers: Mapping[str, str], now: float = 0.0) -> ApiError:
    """The error behind an answer of HTTP status ``status`` ≥ 300. ``now``: seconds of Unix, for a date in it."""
    try:
        told = json.loads(body)
    except ValueError:
        told = {"message": body.decode(errors="replace")}
    return status_error(what, told if isinstance(told, dict) else {}, status, _retry_after(headers, now))


def status_error(what: str, told: Mapping[str, Any], status: int = 0, retry_after: float | None = None) -> ApiError:
    """The error behind a ``Status`` object, such as an ``ERROR`` event of a watch carries one."""
    status = status or _whole(told.get("code")) or 500
    message = clean(str(told.get("message") or "")) or "(no message)"
    details = told.get("details")
    if retry_after is None and isinstance(details, dict) and details.get("retryAfterSeconds"):
        retry_after = float(_whole(details["retryAfterSeconds"])) or None
    kind = ServerError if status >= 500 else _KINDS.get(status, ApiError)
    if status == 403 and "exceeded quota" in message:
        kind = ApiError
    return kind(what, status, str(told.get("reason") or ""), message, retry_after)


@contextmanager
def translated(what: str, url: str = "the cluster", unknown: type[KubernetesError] = KubernetesError) -> Iterator[None]:
    """Everything that is raised inside becomes a :class:`KubernetesError` that says ``what`` failed at ``url``.

    ``unknown``: what it becomes where nothing better is known. The cause stays chained where its text holds no secret.
    """
    try:
        yield
    except ExecutorError:
        raise
    except Exception as error:
        raise _translate(error, what, clean(url), unknown) from (error if clean(f"{error!r} {error}", None) else None)


def clean(text: str, longest: int | None = _LONGEST) -> str:
    """One line of it without tokens and passwords. With ``longest=None``: empty where there were any."""
    line = " ".join(text.split())
    shown = line
    for pattern, instead in _SECRETS:
        shown = pattern.sub(instead, shown)
    if longest is None:
        return shown if shown == line else ""
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _translate(error: Exception, what: str, url: str, unknown: type[KubernetesError]) -> KubernetesError:
    if isinstance(error, ImportError):
        install = "pip install 'hybrid-runtime[kubernetes]'"
        return ClusterConfigError(f"{what} needs the module {error.name}, which is not installed; {install}")
    from kubernetes.config.config_exception import ConfigException
    from urllib3 import exceptions

    root: BaseException = error
    if isinstance(root, exceptions.MaxRetryError) and root.reason is not None:
        root = root.reason
    if isinstance(root, (exceptions.TimeoutError, TimeoutError)) and not isinstance(
        root, exceptions.NewConnectionError
    ):
        return ClusterTimeoutError(f"{what}: {url} did not answer in time")
    if isinstance(root, ConfigException):
        return ClusterConfigError(f"{what}: {clean(str(root))}")
    if isinstance(root, (exceptions.HTTPError, OSError)) or getattr(root, "status", None) == 0:
        return ClusterUnreachableError(f"{what}: {url} cannot be reached: {_told(root)}")
    return unknown(f"{what}: {type(root).__name__}: {clean(str(root))}")


def _told(error: BaseException) -> str:
    """What the operating system said, where it did; urllib3 wraps it in the repr of its objects."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return clean(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return clean(f"{getattr(error, 'reason', '') or error}" or type(error).__name__)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    raw = headers.get("Retry-After") or ""
    try:
        return max(0.0, float(int(raw)))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(raw).timestamp() - now)
    except (ValueError, TypeError):
        return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
