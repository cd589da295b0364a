"""One API server: dicts in, dicts out. Only this file makes calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from executors.kubernetes.connections import Sockets
from executors.kubernetes.errors import (
    ApiError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    clean,
    translated,
)
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.pod_watch import Pod, PodWatch
from executors.kubernetes.session import Request, Session

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["Cluster", "Pod", "PodPage", "PodWatch"]

_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_RENEWAL = 10.0
"""Seconds between two attempts to find better credentials after a 401."""
_LONGEST_LOG = 16 * 2**20
_WATCH_SLACK = 5.0
"""Seconds by which the client outwaits the server's own end of a watch, at most."""


@dataclass(frozen=True)
class PodPage:
    """A page of a list. ``continue_`` is empty on the last one."""

    items: list[Pod] = field(repr=False)
    resource_version: str
    continue_: str


class Cluster:
    """Speaks to one API server. Thread-safe; makes no threads; connects when it is first asked.

    Each call takes at most ``options.request_timeout`` seconds without hearing anything, and raises only kinds of
    :class:`KubernetesError`. A call that was lost with a kept connection is made once more at once, so a creation
    can find its own pod there (``already_exists``).

    Raises :class:`ClusterConfigError` where the options do not describe a cluster.
    """

    def __init__(self, options: KubernetesOptions) -> None:
        self.name = options.name
        self._options = options
        self._sockets = Sockets()
        self._renewing = threading.Lock()
        self._closed = False
        self._session = Session(options, self._sockets)

    @property
    def url(self) -> str:
        """Of the API server, without a password."""
        return clean(self._session.url)

    def create_pod(self, namespace: str, manifest: Mapping[str, Any]) -> Pod:
        """Raises :class:`ConflictError` where a pod of that name is there, :class:`ApiError` where it is refused."""
        return _object(self._call("create a pod", "POST", _pods(namespace), body=manifest))

    def read_pod(self, namespace: str, name: str) -> Pod:
        """Raises :class:`NotFoundError`."""
        return _object(self._call("read a pod", "GET", _pods(namespace, name)))

    def delete_pod(self, namespace: str, name: str, *, uid: str | None = None, grace: int | None = None) -> None:
        """No pod of that name is fine. ``grace`` in seconds; by default the pod's own.

        Raises :class:`ConflictError` where the pod of that name has another ``uid``.
        """
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        with suppress(NotFoundError):
            self._call("delete a pod", "DELETE", _pods(namespace, name), body=body)

    def patch_labels(
        self, namespace: str, name: str, labels: Mapping[str, str | None], *, uid: str | None = None
    ) -> None:
        """Set labels, or take those away that are ``None``.

        Raises :class:`NotFoundError`, and :class:`ConflictError` where the pod of that name has another ``uid``.
        """
        metadata: dict[str, Any] = {"labels": dict(labels)}
        if uid:
            metadata["uid"] = uid
        try:
            self._call("label a pod", "PATCH", _pods(namespace, name), body={"metadata": metadata}, content_type=_MERGE)
        except ApiError as error:
            if uid and error.status == 422 and "metadata.uid" in error.message:
                # A uid in a patch is no precondition but a change, and none that is allowed.
                raise ConflictError("label a pod", 409, "Conflict", error.message) from error
            raise

    def list_pods(
        self,
        namespace: str,
        selector: str,
        *,
        limit: int = 500,
        continue_: str | None = None,
        resource_version: str | None = None,
    ) -> PodPage:
        """A page of up to ``limit`` pods; ``namespace`` "" means all.

        Raises :class:`GoneError` where ``continue_`` is too old.
        """
        asked = {"labelSelector": selector, "limit": limit, "continue": continue_, "resourceVersion": resource_version}
        answer = _object(self._call("list pods", "GET", _pods(namespace), asked))
        metadata = answer.get("metadata") or {}
        version, more = str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or "")
        return PodPage(answer.get("items") or [], version, more)

    def watch_pods(self, namespace: str, selector: str, resource_version: str, *, timeout: float) -> PodWatch:
        """What happens after ``resource_version``. The server ends it after about ``timeout`` seconds, and
        :class:`ClusterTimeoutError` where it is silent for longer. Raises :class:`GoneError` where the version is old.
        """
        asked = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": max(1, round(timeout)),
        }
        silence = max(1.0, timeout) + min(_WATCH_SLACK, timeout)
        response = self._answer("watch pods", "GET", _pods(namespace), asked, silence=silence)
        return PodWatch(response, self.url)

    def read_log(
        self,
        namespace: str,
        name: str,
        *,
        container: str = "base",
        tail_lines: int | None = None,
        since: str | None = None,
    ) -> str:
        """A container's output: its last ``tail_lines``, or what is younger than ``since`` (RFC 3339), or the first
        16 MiB. Raises :class:`NotFoundError`, and :class:`ApiError` (400) where the container has not started.
        """
        asked = {"container": container, "tailLines": tail_lines, "sinceTime": since, "limitBytes": _LONGEST_LOG}
        return self._call("read a log", "GET", f"{_pods(namespace, name)}/log", asked).decode(errors="replace")

    def may_i(self, verb: str, resource: str, namespace: str, subresource: str = "") -> bool:
        """Whether the cluster allows it, by a ``SelfSubjectAccessReview``; ``namespace`` "" means in all of them."""
        attributes = {"verb": verb, "resource": resource, "namespace": namespace, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = _object(self._call("review the access", "POST", path, body=review))
        return bool((answer.get("status") or {}).get("allowed"))

    def version(self) -> str:
        """Of the API server, such as ``v1.31.0``."""
        return str(_object(self._call("ask for the version", "GET", "/version")).get("gitVersion", ""))

    def close(self) -> None:
        """Cut all calls off, those of other threads too: they raise :class:`ClusterUnreachableError`. Idempotent."""
        self._closed = True  # without a lock: who renews may wait for a credential plugin
        self._sockets.cut()
        self._session.close()

    def _call(
        self,
        what: str,
        method: str,
        path: str,
        asked: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        response = self._answer(what, method, path, asked, body=body, content_type=content_type)
        with translated(what, self.url, ClusterUnreachableError):
            content = response.read()
            response.release_conn()
        return content

    def _answer(
        self,
        what: str,
        method: str,
        path: str,
        asked: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        silence: float | None = None,
    ) -> BaseHTTPResponse:
        """The response, its content unread. ``silence``: seconds to wait for a word."""
        session = self._session
        with translated(what, self.url):
            content = b"" if body is None else msgspec.json.encode(body)
        request = Request(what, method, path + _query(asked or {}), content, content_type)
        seconds = silence or self._options.request_timeout
        if self._closed:
            raise ClusterUnreachableError(f"{what}: the connection to {self.url} is closed")
        try:
            return session.send(request, seconds)
        except ForbiddenError as error:
            if error.status != 401 or not self._renew(session):
                raise
        return self._session.send(request, seconds)

    def _renew(self, session: Session) -> bool:
        """Read the configuration once more: its token or certificate has expired. False: that was done just now."""
        with self._renewing:
            if self._session is session:
                if session.age < _RENEWAL:
                    return False
                self._session = Session(self._options, self._sockets)
                session.close()
        return True


def _object(content: bytes) -> dict[str, Any]:
    """What a proxy in between has answered, or cut off, is no refusal: what was asked may have happened."""
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ServerError("read the answer", 502, "", f"it is no JSON object: {error}") from error


def _pods(namespace: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods" if namespace else "/api/v1/pods"
    return f"{path}/{quote(name, safe='')}" if name else path


def _query(asked: Mapping[str, Any]) -> str:
    given = {key: value for key, value in asked.items() if value not in (None, "")}
    return "?" + urlencode(given) if given else ""
