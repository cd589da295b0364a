"""What an operator should know of a cluster, in one line."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from executors.kubernetes.client import Cluster
from executors.kubernetes.errors import KubernetesError
from executors.kubernetes.options import KubernetesOptions

NEEDED = (
    ("create", "pods", ""),
    ("get", "pods", ""),
    ("list", "pods", ""),
    ("watch", "pods", ""),
    ("patch", "pods", ""),
    ("delete", "pods", ""),
    ("get", "pods", "log"),
)
"""Verb, resource and subresource of everything that the executor asks for."""


def complaint(cluster: Cluster, options: KubernetesOptions, troubles: Sequence[str | None]) -> str | None:
    """What is wrong, most urgent first; ``None`` where nothing is.

    :param troubles: of what talks to the cluster all the time.
    """
    found = [trouble for trouble in troubles if trouble]
    try:
        found = refusals(cluster, options.namespaces) + found
    except KubernetesError as error:
        found = found or [str(error)]
    return "; ".join(dict.fromkeys([*found, *unreachable(options)])) or None


def refusals(cluster: Cluster, namespaces: Sequence[str]) -> list[str]:
    """What may not be done, of the first namespace where something may not."""
    for namespace in namespaces:
        missing = [
            f"{verb} {resource}{f'/{subresource}' if subresource else ''}"
            for verb, resource, subresource in NEEDED
            if not cluster.may_i(verb, resource, namespace, subresource)
        ]
        if missing:
            where = f"in namespace {namespace}" if namespace else "in all namespaces"
            return [f"may not {', '.join(missing)} {where}; see deploy/kind/manifests/access.yaml"]
    return []


def unreachable(options: KubernetesOptions) -> list[str]:
    """Whether pods can reach the task API, as far as its address tells."""
    host = urlsplit(options.task_api_url).hostname or ""
    if not host:
        return ["no address of the task API is known; set [core] execution_api_server_url"]
    if not _is_loopback(host):
        return []
    return [f"no pod reaches the task API at {options.task_api_url}; set [core] execution_api_server_url"]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
