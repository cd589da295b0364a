"""What the API server does with pods: creation, optimistic concurrency, graceful deletion, quotas, paged lists."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.kubernetes_api import lists, statuses
from tests.kubernetes_api.patches import patched
from tests.kubernetes_api.podstatus import timestamp, with_condition
from tests.kubernetes_api.store import Key, Object, Store
from tests.kubernetes_api.validation import check, check_types, check_update, completed

PODS = "pods"
TERMINAL = ("Succeeded", "Failed")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


class Registry:
    """The pods of all namespaces. Everything that refuses raises :class:`ApiError`."""

    def __init__(self, namespaces: Mapping[str, Object]) -> None:
        self.store = Store(PODS)
        self.quotas: dict[str, int] = {}
        """Pods that a namespace may hold; those that have ended do not count."""
        self._namespaces = namespaces

    def create(self, namespace: str, body: Object) -> Object:
        check_types(body)
        if namespace not in self._namespaces:
            raise statuses.not_found("namespaces", namespace)
        metadata = dict(body.get("metadata") or {})
        _same_namespace(metadata, namespace)
        _kind(body)
        if metadata.get("resourceVersion"):
            raise statuses.ApiError(500, "resourceVersion should not be set on objects to be created", reason="")
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices(_SUFFIX, k=5))
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(key, None)
        metadata |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        status = {"phase": "Pending", "qosClass": "BestEffort"}
        pod = completed({"kind": "Pod", "apiVersion": "v1", **body, "metadata": metadata, "status": status})
        self._within_quota(namespace, str(metadata.get("name", "")))
        check(pod)
        return self.store.create((namespace, metadata["name"]), pod)

    def get(self, key: Key) -> Object:
        pod = self.store.get(key)
        if pod is None:
            raise statuses.not_found(PODS, key[1])
        return pod

    def replace(self, key: Key, body: Object, subresource: str) -> Object:
        metadata = body.get("metadata") or {}
        name = metadata.get("name")
        if name != key[1]:
            raise statuses.bad_request(
                f"the name of the object ({name or ''}) does not match the name on the URL ({key[1]})"
            )
        _same_namespace(metadata, key[0])
        check_types(body)
        return self._write(key, body, subresource)

    def patch(self, key: Key, patch: Any, content_type: str, subresource: str) -> Object:
        old = self.get(key)
        new = patched(old, patch, content_type)
        check_types(new)
        uid = new["metadata"].get("uid")
        if uid not in {None, old["metadata"]["uid"]}:
            cause = statuses.Cause("metadata.uid", "FieldValueInvalid", f'Invalid value: "{uid}": field is immutable')
            raise statuses.invalid("Pod", key[1], [cause])
        return self._write(key, new, subresource)

    def _write(self, key: Key, wanted: Object, subresource: str) -> Object:
        """Only the status, or all but the status."""
        old = self.get(key)
        theirs = wanted.get("metadata") or {}
        if theirs.get("uid") not in {None, old["metadata"]["uid"]}:
            why = (
                f"Precondition failed: UID in precondition: {theirs['uid']}, "
                f"UID in object meta: {old['metadata']['uid']}"
            )
            raise statuses.conflict(PODS, key[1], why)
        if theirs.get("resourceVersion") not in {None, "", old["metadata"]["resourceVersion"]}:
            raise statuses.modified(PODS, key[1])
        metadata = {name: value for name, value in theirs.items() if value not in (None, {})}
        for name in (
            "uid",
            "name",
            "namespace",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            metadata.pop(name, None)
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        new = {**old, "metadata": metadata}
        if subresource == "status":
            new["status"] = wanted.get("status") or {}
        else:
            new["spec"] = completed({"spec": wanted.get("spec")})["spec"]
            if "nodeName" in old["spec"]:
                new["spec"].setdefault("nodeName", old["spec"]["nodeName"])
        check_update(old, new)
        return self.store.update(key, new)

    def bind(self, key: Key, node: str) -> None:
        """What the scheduler does."""
        pod = self.get(key)
        if pod["spec"].get("nodeName"):
            why = f'pod {key[1]} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise statuses.conflict("pods/binding", key[1], why)
        scheduled = with_condition(pod["status"], "PodScheduled", "True")
        self.store.update(key, {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": scheduled})

    def change_status(self, key: Key, change: Callable[[Object], Object]) -> Object | None:
        """For the kubelet: ``change`` makes the new status of the old one; ``None`` when the pod is gone."""
        pod = self.store.get(key)
        return None if pod is None else self.store.update(key, {**pod, "status": change(pod["status"])})

    def delete(self, key: Key, options: Mapping[str, Any]) -> Object:
        """Mark it, and leave the rest to the kubelet; remove it at once where there is nothing to wait for."""
        pod = self.get(key)
        _check_preconditions(pod, options.get("preconditions") or {})
        metadata = pod["metadata"]
        grace = _grace(pod, options.get("gracePeriodSeconds"))
        if "deletionTimestamp" in metadata:
            asked = options.get("gracePeriodSeconds")
            if asked is None or asked >= metadata["deletionGracePeriodSeconds"]:
                return pod
            grace = asked
        when = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
        marked = {**metadata, "deletionTimestamp": when, "deletionGracePeriodSeconds": grace}
        pod = self.store.update(key, {**pod, "metadata": marked})
        if not grace:
            self.remove(key)
        return pod

    def remove(self, key: Key) -> Object:
        """At once, without a question."""
        return self.store.delete(key)

    def page(self, namespace: str | None, query: Mapping[str, str]) -> Object:
        """A ``PodList``; ``namespace=None`` means all."""
        matches = lists.selected(namespace, query)
        limit = lists.number(query.get("limit", "0"))
        if token := query.get("continue"):
            if query.get("resourceVersion", "0") not in {"", "0"}:
                raise statuses.bad_request("specifying resource version is not allowed when using continue")
            revision, start = lists.read_token(token)
        else:
            revision, start = self._asked_revision(query), None
        found = [(key, obj) for key, obj in self._at(revision, start) if start is None or key > start]
        found = [(key, obj) for key, obj in found if matches(obj)]
        at = self.store.revision if revision is None else revision
        metadata: dict[str, Any] = {"resourceVersion": str(at)}
        if limit and len(found) > limit:
            metadata["continue"] = lists.token(at, found[limit - 1][0])
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        items = [{key: value for key, value in obj.items() if key not in {"kind", "apiVersion"}} for _, obj in found]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}

    def _at(self, revision: int | None, start: Key | None) -> list[tuple[Key, Object]]:
        if revision is None:
            return list(self.store.objects())
        try:
            return self.store.objects_at(revision)
        except statuses.ApiError:
            if start is None:
                raise
            raise statuses.gone(lists.EXPIRED_CONTINUE, lists.token(None, start)) from None

    def _asked_revision(self, query: Mapping[str, str]) -> int | None:
        """``None``: the newest, which is "not older than" any that has been."""
        asked = lists.revision(query.get("resourceVersion", ""))
        if asked > self.store.revision:
            raise lists.too_large(asked, self.store.revision)
        return asked if query.get("resourceVersionMatch") == "Exact" else None

    def _within_quota(self, namespace: str, name: str) -> None:
        limit = self.quotas.get(namespace)
        if limit is None:
            return
        used = sum(
            1 for key, pod in self.store.objects() if key[0] == namespace and pod["status"].get("phase") not in TERMINAL
        )
        if used >= limit:
            why = f"exceeded quota: pods-quota, requested: pods=1, used: pods={used}, limited: pods={limit}"
            raise statuses.forbidden(PODS, name, why)


def _same_namespace(metadata: Mapping[str, Any], namespace: str) -> None:
    if metadata.get("namespace") not in {None, "", namespace}:
        raise statuses.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _kind(body: Mapping[str, Any]) -> None:
    if body.get("kind", "Pod") != "Pod" or body.get("apiVersion", "v1") != "v1":
        raise statuses.bad_request(
            f'{body.get("kind")} in version "{body.get("apiVersion")}" cannot be handled as a Pod: '
            f'no kind "{body.get("kind")}" is registered for version "{body.get("apiVersion")}"'
        )


def _check_preconditions(pod: Object, preconditions: Mapping[str, Any]) -> None:
    for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, is_ = preconditions.get(field), pod["metadata"][field]
        if wanted is not None and wanted != is_:
            change = "deleted and then recreated" if field == "uid" else "modified"
            why = (
                f"the {name} in the precondition ({wanted}) does not match the {name} in record ({is_}). "
                f"The object might have been {change}"
            )
            raise statuses.conflict("Pod", pod["metadata"]["name"], why)


def _grace(pod: Object, asked: int | None) -> int:
    """Seconds. A pod without a node, or one that has ended, has nothing to be graceful about."""
    if asked is not None and asked < 0:
        cause = statuses.Cause(
            "gracePeriodSeconds", "FieldValueInvalid", f"Invalid value: {asked}: must not be negative"
        )
        raise statuses.invalid("DeleteOptions", "", [cause])
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in TERMINAL:
        return 0
    return int(pod["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)
