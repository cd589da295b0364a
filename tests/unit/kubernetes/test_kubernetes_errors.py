"""Whatever goes wrong with a cluster becomes one line of a known kind, without a secret in it."""

from __future__ import annotations

import json

import pytest
import urllib3.exceptions
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from executors.errors import ExecutorConfigError
from executors.kubernetes import errors
from executors.kubernetes.errors import api_error, clean, status_error, translated


def _status(code: int, reason: str, message: str, **details: object) -> bytes:
    told = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return json.dumps(told | ({"details": details} if details else {})).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.ApiError),
        (401, "Unauthorized", errors.ForbiddenError),
        (403, "Forbidden", errors.ForbiddenError),
        (404, "NotFound", errors.NotFoundError),
        (409, "AlreadyExists", errors.ConflictError),
        (410, "Expired", errors.GoneError),
        (422, "Invalid", errors.ApiError),
        (429, "TooManyRequests", errors.ThrottledError),
        (500, "InternalError", errors.ServerError),
        (504, "Timeout", errors.ServerError),
    ],
)
def test_status_has_kind(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    error = api_error("create a pod", code, _status(code, reason, "no\nway"), {})
    assert type(error) is kind
    assert (error.status, error.reason, error.message) == (code, reason, "no way")
    assert str(error) == f"create a pod: the API server answers {code} {reason}: no way"


def test_exceeded_quota_is_not_forbidden() -> None:
    message = 'pods "a" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2'
    error = api_error("create a pod", 403, _status(403, "Forbidden", message), {})
    assert error.is_quota
    assert not isinstance(error, errors.ForbiddenError)


def test_quota_that_needs_limits_is_forbidden() -> None:
    """No wait makes it work."""
    message = 'pods "a" is forbidden: failed quota: few: must specify limits.cpu'
    assert isinstance(api_error("create a pod", 403, _status(403, "Forbidden", message), {}), errors.ForbiddenError)


def test_two_conflicts_are_told_apart() -> None:
    exists = api_error("create a pod", 409, _status(409, "AlreadyExists", 'pods "a" already exists'), {})
    raced = api_error("create a pod", 409, _status(409, "Conflict", "the object has been modified"), {})
    assert exists.already_exists
    assert not raced.already_exists


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "7"}, {}, 7.0),
        ({}, {"retryAfterSeconds": 3}, 3.0),
        ({"Retry-After": "2"}, {"retryAfterSeconds": 3}, 2.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, {}, 40.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:10 GMT"}, {}, 0.0),
        ({"Retry-After": "soon"}, {}, None),
        ({}, {}, None),
    ],
)
def test_retry_after(headers: dict[str, str], details: dict[str, object], seconds: float | None) -> None:
    """Of the header, in either form, or of the answer's details."""
    error = api_error("list pods", 429, _status(429, "TooManyRequests", "slow down", **details), headers, now=60.0)
    assert error.retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"<html>bad\ngateway</html>", b"[1, 2]", b'"text"', b"\xff\xfe"])
def test_answers_of_proxies_are_no_json(body: bytes) -> None:
    error = api_error("list pods", 502, body, {})
    assert isinstance(error, errors.ServerError)
    assert "\n" not in str(error)


def test_error_event_of_a_watch() -> None:
    error = status_error("watch pods", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    assert isinstance(error, errors.GoneError)


def test_long_messages_are_cut() -> None:
    error = api_error("create a pod", 422, _status(422, "Invalid", "x" * 5000), {})
    assert len(error.message) == 500


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, "/", "slow"), errors.ClusterTimeoutError),
        (urllib3.exceptions.ConnectTimeoutError(None, "slow"), errors.ClusterTimeoutError),
        (urllib3.exceptions.NewConnectionError(None, "refused"), errors.ClusterUnreachableError),
        (urllib3.exceptions.ProtocolError("Connection aborted."), errors.ClusterUnreachableError),
        (urllib3.exceptions.SSLError("certificate verify failed"), errors.ClusterUnreachableError),
        (ApiException(status=0, reason="SSLError\nno"), errors.ClusterUnreachableError),
        (ConnectionResetError(104, "Connection reset by peer"), errors.ClusterUnreachableError),
        (ConfigException("Invalid kube-config file."), errors.ClusterConfigError),
        (ConfigException("Invalid kube-config file."), ExecutorConfigError),
        (ModuleNotFoundError("no", name="kubernetes"), errors.ClusterConfigError),
        (KeyError("type"), errors.KubernetesError),
    ],
)
def test_what_the_client_raises(raised: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, translated("list pods", "https://cluster:6443"):
        raise raised
    assert isinstance(caught.value, errors.KubernetesError)
    assert str(caught.value).startswith("list pods")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is raised


def test_timeouts_behind_retries_are_timeouts() -> None:
    """``api_client_retry_configuration`` makes urllib3 wrap what it raises."""
    reason = urllib3.exceptions.ReadTimeoutError(None, "/", "slow")
    with pytest.raises(errors.ClusterTimeoutError), translated("list pods"):
        raise urllib3.exceptions.MaxRetryError(None, "/", reason)


def test_own_errors_pass_unchanged() -> None:
    mine = errors.GoneError("watch pods", 410, "Gone", "too old")
    with pytest.raises(errors.GoneError) as caught, translated("watch pods"):
        raise mine
    assert caught.value is mine


@pytest.mark.parametrize(
    "text",
    [
        "Invalid header value b'Bearer sEcReT\\n'",
        "authorization: bearer sEcReT",
        "cannot reach https://me:sEcReT@cluster:6443/version",
        "Basic sEcReT",
    ],
)
def test_no_secret_is_told_nor_chained(text: str) -> None:
    with pytest.raises(errors.KubernetesError) as caught, translated("list pods", text):
        raise ValueError(text)
    assert "sEcReT" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_clean_text_stays() -> None:
    assert clean('pods "a" is forbidden') == 'pods "a" is forbidden'
