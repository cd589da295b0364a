"""The API server's paths: which call a request is, whether it may be made, and what answers it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.kubernetes_api import lists, statuses
from tests.kubernetes_api.access import Access
from tests.kubernetes_api.faults import Faults, strike
from tests.kubernetes_api.http import Connection, Request, Response
from tests.kubernetes_api.journal import Journal
from tests.kubernetes_api.logs import LogReader
from tests.kubernetes_api.podstatus import timestamp
from tests.kubernetes_api.registry import Registry
from tests.kubernetes_api.selectors import both, by_fields, by_labels
from tests.kubernetes_api.store import Object
from tests.kubernetes_api.watching import DEFAULT_TIMEOUT, Watches

_POD_PATH = re.compile(
    r"/api/v1(?:/namespaces/(?P<namespace>[^/]+))?/pods(?:/(?P<name>[^/]+)(?:/(?P<subresource>[a-z]+))?)?"
)
_NAMESPACE_PATH = re.compile(r"/api/v1/namespaces(?:/(?P<name>[^/]+))?")
_REVIEW_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}
_OPEN = ("version", "healthz", "livez", "readyz")
"""Paths that need no token."""
_BODY_LIMIT = 3 * 1024 * 1024
VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+fake",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-04-23T13:00:00Z",
    "goVersion": "go1.24",
    "compiler": "gc",
    "platform": "linux/amd64",
}


@dataclass(slots=True)
class Call:
    """What is asked for, in the words of RBAC. ``namespace=None``: all of them, or no matter."""

    verb: str
    resource: str
    namespace: str | None = None
    name: str = ""
    request: Request = field(default_factory=lambda: Request("GET", "/", {}, {}))

    @property
    def subresource(self) -> str:
        return self.resource.partition("/")[2]

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace or "", self.name


class Api:
    """One API server. Its state is public: the switches of the tests turn it."""

    def __init__(self, token: str, namespaces: tuple[str, ...], bookmark_interval: float) -> None:
        self.namespaces: dict[str, Object] = {}
        self.registry = Registry(self.namespaces)
        self.access = Access(token)
        self.faults = Faults()
        self.journal = Journal()
        self.watches = Watches(self.registry.store, self.faults, bookmark_interval)
        self.logs: LogReader | None = None
        for name in namespaces:
            self.create_namespace(name)

    async def handle(self, request: Request, connection: Connection) -> Response | None:
        call = _call_of(request)
        record = self.journal.add(
            call.verb, call.resource, call.namespace or "", call.name, request.path, request.query
        )
        try:
            faults = self.faults.meeting(call.verb, call.resource)
            await strike(faults, after=False)
            response = await self._answer(call, connection)
            await strike(faults, after=True)
        except statuses.ApiError as error:
            response = error.response()
        record.status = 0 if response is None else response.status
        return response

    async def _answer(self, call: Call, connection: Connection) -> Response | None:
        if call.resource in _OPEN:
            return Response(200, VERSION) if call.resource == "version" else Response(200, b"ok", {}, "text/plain")
        user = self.access.user(call.request.headers)
        if not call.resource:
            return _nowhere(call.request.path)
        if call.resource == "selfsubjectaccessreviews":
            return Response(201, self.access.review(user, _body(call)))
        self.access.authorize(user, call.verb, call.resource, call.namespace, call.name)
        return await self._permitted(call, connection)

    async def _permitted(self, call: Call, connection: Connection) -> Response | None:
        if call.resource == "namespaces":
            return self._namespace(call)
        if call.verb == "watch":
            await self._watch(call, connection)
            return None
        if call.resource == "pods/log":
            assert self.logs is not None
            return await self.logs.answer(self.registry.get(call.key), call.request.query, connection)
        return self._pods(call)

    def _pods(self, call: Call) -> Response:
        if call.verb == "create":
            return Response(201, self._created(call))
        return Response(200, self._read_or_changed(call))

    def _created(self, call: Call) -> Object:
        match call.subresource:
            case "":
                return self.registry.create(call.namespace or "", _body(call))
            case "binding":
                self.registry.bind(call.key, (_body(call).get("target") or {}).get("name", ""))
            case "eviction":
                self.registry.delete(call.key, _body(call).get("deleteOptions") or {})
            case _:
                raise _not_allowed()
        return _success(201)

    def _read_or_changed(self, call: Call) -> Object:
        registry, subresource, asked = self.registry, call.subresource, call.request
        calls: dict[tuple[str, bool], Callable[[], Object]] = {
            ("get", True): lambda: registry.get(call.key),
            ("get", False): lambda: registry.get(call.key),
            ("list", False): lambda: registry.page(call.namespace, asked.query),
            ("update", True): lambda: registry.replace(call.key, _body(call), subresource),
            ("update", False): lambda: registry.replace(call.key, _body(call), subresource),
            ("patch", True): lambda: registry.patch(call.key, _decoded(call), asked.content_type, subresource),
            ("patch", False): lambda: registry.patch(call.key, _decoded(call), asked.content_type, subresource),
            ("delete", False): lambda: registry.delete(call.key, _delete_options(call)),
            ("deletecollection", False): lambda: self._delete_all(call),
        }
        known = subresource in {"", "status"} and not (call.verb == "deletecollection" and call.namespace is None)
        act = calls.get((call.verb, bool(subresource)))
        if act is None or not known:
            raise _not_allowed()
        return act()

    def _delete_all(self, call: Call) -> Object:
        found = self.registry.page(call.namespace, call.request.query)
        options = _delete_options(call)
        for pod in found["items"]:
            self.registry.delete((pod["metadata"]["namespace"], pod["metadata"]["name"]), options)
        return found

    async def _watch(self, call: Call, connection: Connection) -> None:
        query = call.request.query
        await self.watches.serve(
            connection,
            lists.selected(call.namespace, query),
            lists.revision(query.get("resourceVersion", "")),
            bookmarks=query.get("allowWatchBookmarks") in {"true", "1"},
            seconds=float(query.get("timeoutSeconds") or DEFAULT_TIMEOUT),
        )

    # namespaces: no more than a test needs

    def create_namespace(self, name: str) -> Object:
        if name in self.namespaces:
            raise statuses.already_exists("namespaces", name)
        metadata = {
            "name": name,
            "uid": str(uuid.uuid4()),
            "resourceVersion": str(self.registry.store.tick()),
            "creationTimestamp": timestamp(),
            "labels": {"kubernetes.io/metadata.name": name},
        }
        spec, status = {"finalizers": ["kubernetes"]}, {"phase": "Active"}
        made = {"kind": "Namespace", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}
        self.namespaces[name] = made
        return made

    def _namespace(self, call: Call) -> Response:
        match call.verb:
            case "create":
                return Response(201, self.create_namespace((_body(call).get("metadata") or {}).get("name", "")))
            case "list":
                query = call.request.query
                matches = both(by_labels(query.get("labelSelector", "")), by_fields(query.get("fieldSelector", "")))
                items = [obj for _, obj in sorted(self.namespaces.items()) if matches(obj)]
                metadata = {"resourceVersion": str(self.registry.store.revision)}
                return Response(
                    200, {"kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items}
                )
        if call.name not in self.namespaces:
            raise statuses.not_found("namespaces", call.name)
        if call.verb != "delete":
            return Response(200, self.namespaces[call.name])
        for key, _ in list(self.registry.store.objects()):
            if key[0] == call.name:
                self.registry.remove(key)
        return Response(200, self.namespaces.pop(call.name))


def _call_of(request: Request) -> Call:
    if found := _POD_PATH.fullmatch(request.path):
        resource = "pods" if found["subresource"] is None else f"pods/{found['subresource']}"
        return Call(_verb(request, found["name"]), resource, found["namespace"], found["name"] or "", request)
    if found := _NAMESPACE_PATH.fullmatch(request.path):
        return Call(_verb(request, found["name"]), "namespaces", None, found["name"] or "", request)
    if request.path == _REVIEW_PATH:
        return Call("create", "selfsubjectaccessreviews", None, "", request)
    known = request.path.strip("/")
    known = known if known in _OPEN else ""
    return Call(_VERBS.get(request.method, ""), known, None, "", request)


def _verb(request: Request, name: str | None) -> str:
    verb = _VERBS.get(request.method, "")
    if name is None and verb == "get":
        return "watch" if request.query.get("watch") in {"true", "1"} else "list"
    return "deletecollection" if name is None and verb == "delete" else verb


def _decoded(call: Call) -> Any:
    body = call.request.body
    if len(body) > _BODY_LIMIT:
        raise statuses.ApiError(413, f"Request entity too large: limit is {_BODY_LIMIT}")
    try:
        return msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError as error:
        raise statuses.bad_request(f"the object provided is unrecognized (must be of type Pod): {error}") from None


def _body(call: Call) -> Object:
    body = _decoded(call)
    if not isinstance(body, dict):
        raise statuses.bad_request(
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind"
        )
    return body


def _delete_options(call: Call) -> Object:
    """Those of the body; what the URL says counts where there is none."""
    options = _decoded(call)
    if not options and "gracePeriodSeconds" in call.request.query:
        return {"gracePeriodSeconds": int(call.request.query["gracePeriodSeconds"])}
    return dict(options)


def _nowhere(path: str) -> Response:
    """The groups of API that are there answer in their own way."""
    if path.startswith("/api/v1/"):
        raise statuses.no_such_path()
    return Response(404, b"404 page not found\n", {}, "text/plain; charset=utf-8")


def _not_allowed() -> statuses.ApiError:
    return statuses.ApiError(405, "the server does not allow this method on the requested resource")


def _success(code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
