"""The output of a launch: the last lines of its pod's container ``base``."""

from __future__ import annotations

from collections.abc import Sequence

from executors.kubernetes.building.naming import pod_name
from executors.kubernetes.client import Cluster
from executors.kubernetes.errors import ApiError, NotFoundError
from executors.kubernetes.options import KubernetesOptions
from executors.workload import TaskInstanceRef

LONGEST = 10 * 2**20
"""Characters of an output that are kept; the beginning is left out."""
_LIMIT = 16 * 2**20
"""Bytes after which the client cuts an answer off, at its end."""
_LINES = (50_000, 2_000, 100)


def places(options: KubernetesOptions, ref: TaskInstanceRef) -> list[tuple[str, str]]:
    """Namespace and name of each pod that may be the attempt's, most likely first."""
    name = pod_name(ref.key)
    namespace, _, named = (ref.external_executor_id or "").partition("/")
    namespaces = [namespace] if named == name else []
    namespaces += [options.namespace, *(other for other in options.namespaces if other)]
    return [(other, name) for other in dict.fromkeys(namespaces)]


def tail(cluster: Cluster, options: KubernetesOptions, ref: TaskInstanceRef) -> tuple[list[str], list[str]]:
    """``(messages, logs)`` for :meth:`executors.base.BaseExecutor.get_task_log`.

    Raises :class:`KubernetesError` where the cluster cannot be asked.
    """
    candidates = places(options, ref)
    for namespace, name in candidates:
        where = f"{namespace}/{name}"
        try:
            text = cluster.read_log(namespace, name, tail_lines=options.running_pod_log_lines)
        except NotFoundError:
            continue
        except ApiError as error:
            if error.status == 400:
                return [f"Pod {where} has no output yet: {error.message}"], []
            raise
        return [f"The last {options.running_pod_log_lines} lines of pod {where}"], [text]
    return [_not_there(candidates)], []


def whole(cluster: Cluster, namespace: str, name: str) -> str:
    """All that its container has written, or the last part of it; empty where that cannot be had any more.

    Raises :class:`KubernetesError` where asking again may help.
    """
    text = ""
    try:
        for lines in _LINES:
            text = cluster.read_log(namespace, name, tail_lines=lines)
            if len(text.encode()) < _LIMIT:
                break
    except ApiError as error:
        if error.status not in (400, 404):
            raise
        return ""
    return text[-LONGEST:]


def _not_there(candidates: Sequence[tuple[str, str]]) -> str:
    namespaces = ", ".join(namespace for namespace, _ in candidates)
    return f"There is no pod {candidates[0][1]} in namespace {namespaces}"
