"""What the API server fills into a pod, and what it refuses. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.kubernetes_api.statuses import Cause, bad_request, invalid

Pod = dict[str, Any]
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_ANNOTATION_BYTES = 256 * 1024
_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DNS_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUALIFIED_NAME_MESSAGE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def completed(pod: Mapping[str, Any]) -> Pod:
    """With the defaults that a real pod has; who asks without a specification gets none."""
    made = copy.deepcopy(dict(pod))
    spec = made.setdefault("spec", {}) or {}
    made["spec"] = spec
    defaults = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "enableServiceLinks": True,
        "securityContext": {},
        "tolerations": [_tolerated("not-ready"), _tolerated("unreachable")],
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    for key, value in defaults.items():
        if spec.get(key) is None:
            spec[key] = value
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        container.setdefault("imagePullPolicy", "Always" if tag in {"", "latest"} else "IfNotPresent")
    return made


def _tolerated(taint: str) -> Pod:
    """A pod stays on a node that is in trouble for five minutes."""
    key = f"node.kubernetes.io/{taint}"
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def check_types(pod: Mapping[str, Any]) -> None:
    """Raises :class:`ApiError` 400 for what does not decode as a Pod. Looks where users err, not everywhere."""
    spec, metadata = pod.get("spec") or {}, pod.get("metadata") or {}
    for name in ("labels", "annotations"):
        for value in (metadata.get(name) or {}).values():
            _text(value, f"ObjectMeta.metadata.{name}")
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for variable in container.get("env") or []:
            _text(variable.get("value"), "EnvVar.spec.containers.env.value")
        for name in ("command", "args"):
            words = container.get(name) or []
            if not isinstance(words, list):
                raise _does_not_decode("string", f"Container.spec.containers.{name}", "[]string")
            for word in words:
                _text(word, f"Container.spec.containers.{name}")


def _text(value: Any, where: str) -> None:
    if value is not None and not isinstance(value, str):
        kind = {bool: "bool", int: "number", float: "number", dict: "object", list: "array"}[type(value)]
        raise _does_not_decode(kind, where, "string")


def _does_not_decode(kind: str, where: str, wanted: str) -> Exception:
    return bad_request(
        'Pod in version "v1" cannot be handled as a Pod: '
        f"json: cannot unmarshal {kind} into Go struct field {where} of type {wanted}"
    )


def check(pod: Mapping[str, Any]) -> None:
    """Raises :class:`ApiError` 422 with all that is wrong."""
    causes = [*_metadata(pod["metadata"]), *_spec(pod.get("spec") or {})]
    if causes:
        raise invalid("Pod", pod["metadata"].get("name", ""), causes)


def _metadata(metadata: Mapping[str, Any]) -> Iterator[Cause]:
    name = metadata.get("name")
    if not name:
        yield Cause("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")
    elif len(name) > 253:
        yield _wrong("metadata.name", name, "must be no more than 253 characters")
    elif not _SUBDOMAIN.fullmatch(name):
        yield _wrong("metadata.name", name, _SUBDOMAIN_MESSAGE)
    for key, value in (metadata.get("labels") or {}).items():
        yield from _qualified(key, "metadata.labels")
        if len(value) > 63:
            yield _wrong("metadata.labels", value, "must be no more than 63 characters")
        elif not _LABEL_VALUE.fullmatch(value):
            yield _wrong("metadata.labels", value, _LABEL_VALUE_MESSAGE)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _qualified(key, "metadata.annotations")
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATION_BYTES:
        message = f"Too long: must have at most {_ANNOTATION_BYTES} bytes"
        yield Cause("metadata.annotations", "FieldValueTooLong", message)


def _qualified(key: str, where: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        yield _wrong(where, key, f"prefix part {_SUBDOMAIN_MESSAGE}")
    if len(name) > 63:
        yield _wrong(where, key, "name part must be no more than 63 characters")
    elif not _QUALIFIED_NAME.fullmatch(name):
        yield _wrong(where, key, _QUALIFIED_NAME_MESSAGE)


def _spec(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield Cause("spec.containers", "FieldValueRequired", "Required value")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(field) or []):
            yield from _container(container, f"spec.{field}[{number}]", seen, volumes)
    if spec.get("restartPolicy") not in {"Always", "OnFailure", "Never"}:
        message = f'Unsupported value: "{spec.get("restartPolicy")}": supported values: "Always", "OnFailure", "Never"'
        yield Cause("spec.restartPolicy", "FieldValueNotSupported", message)


def _container(container: Mapping[str, Any], path: str, seen: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield Cause(f"{path}.name", "FieldValueRequired", "Required value")
    elif len(name) > 63 or not _DNS_LABEL.fullmatch(name):
        yield _wrong(f"{path}.name", name, _DNS_LABEL_MESSAGE)
    elif name in seen:
        yield Cause(f"{path}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"')
    seen.add(name)
    if not container.get("image"):
        yield Cause(f"{path}.image", "FieldValueRequired", "Required value")
    for number, variable in enumerate(container.get("env") or []):
        if not _ENV_NAME.fullmatch(variable.get("name") or ""):
            yield _wrong(f"{path}.env[{number}].name", variable.get("name", ""), "a valid environment variable name")
    for number, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            message = f'Not found: "{mount.get("name")}"'
            yield Cause(f"{path}.volumeMounts[{number}].name", "FieldValueNotFound", message)


def _wrong(field: str, value: str, message: str) -> Cause:
    return Cause(field, "FieldValueInvalid", f'Invalid value: "{value}": {message}')


def check_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A pod's metadata may change, and little of its specification. Raises :class:`ApiError` 422."""
    check(new)
    if _fixed(old.get("spec") or {}) != _fixed(new.get("spec") or {}):
        message = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, "
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` "
            "(only additions to existing tolerations)"
        )
        raise invalid("Pod", new["metadata"]["name"], [Cause("spec", "FieldValueForbidden", message)])


def _fixed(spec: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {key: value for key, value in spec.items() if key not in {"activeDeadlineSeconds", "tolerations"}}
    for field in ("containers", "initContainers"):
        if fixed.get(field):
            fixed[field] = [{**container, "image": ""} for container in fixed[field]]
    return fixed
