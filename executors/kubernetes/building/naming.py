"""How a pod is called, labelled and found again. A name follows from its attempt: creating twice is creating once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from executors.kubernetes.options import KubernetesOptions
from executors.workload import TaskInstanceKey

LONGEST = 63
"""Characters of a DNS label, and of a label's value."""
OURS = "kubernetes_executor"
"""Label of every pod that this executor has made: ``True``, as in Airflow."""
INSTANCE, DEPLOYMENT = "hybrid_executor", "hybrid_deployment"
DONE = "kubernetes_executor_done"
"""Label of a pod that has ended and is kept: nobody watches it any more."""
_PREFIX = "hybrid.dev/"
ATTEMPT_ID = f"{_PREFIX}attempt-id"
_HEX = 32
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_DNS = re.compile(r"[^a-z0-9]+")


def pod_name(key: TaskInstanceKey) -> str:
    """A DNS label: what fits of DAG and task, for people, and the 32 hex digits of the attempt's id."""
    tail = _hex(key)
    room = LONGEST - len(tail) - 1
    dag, task = _slug(key.dag_id), _slug(key.task_id)
    head = "-".join(filter(None, (dag[: max(room // 2, room - len(task) - 1)].rstrip("-"), task)))[:room].rstrip("-")
    return f"{head or 'task'}-{tail}"


def label_value(text: str) -> str:
    """``text`` where a label may have it as its value, else what is left of it and a hash of the whole."""
    if _LABEL.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    kept = _NOT_LABEL.sub("", text).strip("._-")[: LONGEST - len(digest) - 1]
    return f"{kept}-{digest}" if kept else digest


def labels(key: TaskInstanceKey, options: KubernetesOptions) -> dict[str, str]:
    """To select pods by, with Airflow's names; the exact ids are in :func:`annotations_of`."""
    found = {
        "dag_id": label_value(key.dag_id),
        "task_id": label_value(key.task_id),
        "run_id": label_value(key.run_id),
        "try_number": str(key.try_number),
        **_instance_labels(options),
    }
    if key.map_index >= 0:
        found["map_index"] = str(key.map_index)
    if installed := _version():
        found["hybrid_version"] = installed
    return found


def selector(options: KubernetesOptions) -> str:
    """Of all pods of this instance and deployment that are not kept as done."""
    wanted = ",".join(f"{name}={value}" for name, value in _instance_labels(options).items())
    return f"{wanted},{DONE}!=True"


def annotations_of(key: TaskInstanceKey) -> dict[str, str]:
    """The exact ids, of which :func:`key_of` makes the key again."""
    return {
        f"{_PREFIX}dag-id": key.dag_id,
        f"{_PREFIX}task-id": key.task_id,
        f"{_PREFIX}run-id": key.run_id,
        f"{_PREFIX}try-number": str(key.try_number),
        f"{_PREFIX}map-index": str(key.map_index),
        ATTEMPT_ID: key.attempt_id,
    }


def key_of(pod: Mapping[str, Any]) -> TaskInstanceKey | None:
    """The attempt that a pod belongs to; ``None`` where it is no pod of this executor, but a person's copy of one."""
    metadata = pod.get("metadata") or {}
    notes = metadata.get("annotations") or {}
    try:
        key = TaskInstanceKey(
            dag_id=notes[f"{_PREFIX}dag-id"],
            task_id=notes[f"{_PREFIX}task-id"],
            run_id=notes[f"{_PREFIX}run-id"],
            try_number=int(notes[f"{_PREFIX}try-number"]),
            map_index=int(notes[f"{_PREFIX}map-index"]),
            attempt_id=notes[ATTEMPT_ID],
        )
    except (KeyError, ValueError):
        return None
    return key if metadata.get("name") == pod_name(key) else None


def _instance_labels(options: KubernetesOptions) -> dict[str, str]:
    return {OURS: "True", INSTANCE: label_value(options.name), DEPLOYMENT: label_value(options.deployment)}


def _hex(key: TaskInstanceKey) -> str:
    """The attempt's UUID. Of an id that is none, and need not be unique by itself, a hash with all of the key."""
    if _UUID.fullmatch(key.attempt_id):
        return key.attempt_id.replace("-", "")
    whole = "\0".join(map(str, (*key, key.attempt_id)))
    return hashlib.sha256(whole.encode()).hexdigest()[:_HEX]


def _slug(text: str) -> str:
    return _NOT_DNS.sub("-", text.lower()).strip("-")


@cache
def _version() -> str:
    """Of the installed distribution; empty where it runs from a checkout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return label_value(version("hybrid-runtime"))
    except PackageNotFoundError:
        return ""
