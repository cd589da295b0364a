"""The three kinds of PATCH, as pure functions. What they are applied to stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from tests.kubernetes_api.statuses import ApiError, bad_request, unsupported_media_type

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
SUPPORTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)
_LIST_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "containerStatuses": "name",
    "conditions": "type",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}
"""By which key a strategic merge patch joins lists; other lists it replaces, but for ``finalizers``."""


def patched(obj: Mapping[str, Any], patch: Any, content_type: str) -> dict[str, Any]:
    """The object after the patch. Raises :class:`ApiError` 400, 415 or 422."""
    if content_type not in SUPPORTED:
        raise unsupported_media_type()
    result = copy.deepcopy(dict(obj))
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        for operation in patch:
            result = _operate(result, operation)
        return result
    if not isinstance(patch, dict):
        raise bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    merge = _merge if content_type == MERGE_PATCH else _strategic
    merged: dict[str, Any] = merge(result, patch)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


def _strategic(target: Any, patch: Any, name: str = "") -> Any:
    if isinstance(patch, dict):
        return _strategic_map(target, patch)
    if isinstance(patch, list) and isinstance(target, list):
        return _strategic_list(target, patch, name)
    return patch


def _strategic_map(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif not key.startswith("$"):
            result[key] = _strategic(result.get(key), value, key)
    return result


def _strategic_list(target: list[Any], patch: list[Any], name: str) -> list[Any]:
    if name == "finalizers":
        return [*target, *(value for value in patch if value not in target)]
    key = _LIST_KEYS.get(name)
    if key is None:
        return patch
    result = list(target)
    for value in patch:
        at = next((i for i, known in enumerate(result) if known.get(key) == value.get(key)), None)
        if value.get("$patch") == "delete":
            result = [known for known in result if known.get(key) != value.get(key)]
        elif at is None:
            result.append(value)
        else:
            result[at] = _strategic(result[at], value)
    return result


def _operate(document: dict[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    """One step of RFC 6902."""
    path = _pointer(operation.get("path", ""))
    match operation.get("op"):
        case "add":
            _add(document, path, operation.get("value"))
        case "replace":
            _look_up(document, path)
            _remove(document, path)
            _add(document, path, operation.get("value"))
        case "remove":
            _look_up(document, path)
            _remove(document, path)
        case "test":
            if _look_up(document, path) != operation.get("value"):
                raise _refused()
        case "move" | "copy" as op:
            source = _pointer(operation.get("from", ""))
            value = copy.deepcopy(_look_up(document, source))
            if op == "move":
                _remove(document, source)
            _add(document, path, value)
        case _:
            raise _refused()
    return document


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _look_up(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        try:
            document = document[int(part)] if isinstance(document, list) else document[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _refused() from None
    return document


def _remove(document: Any, path: Sequence[str]) -> None:
    parent = _look_up(document, path[:-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]


def _add(document: Any, path: Sequence[str], value: Any) -> None:
    parent = _look_up(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else int(path[-1]), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise _refused()


def _refused() -> ApiError:
    """The real server does not say why."""
    return ApiError(422, "the server rejected our request due to an error in our request", details={})
