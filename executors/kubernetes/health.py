"""What an operator should know of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from executors.exposure import is_loopback, others_may_read
from executors.findings import Finding, errors, warnings
from executors.kubernetes.building.naming import selector
from executors.kubernetes.client import Cluster, Pod
from executors.kubernetes.errors import KubernetesError
from executors.kubernetes.images import configured, unpullable, unstable
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
MOST_PODS = 500
"""Of a namespace that are looked at."""


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


def examine(cluster: Cluster, options: KubernetesOptions, troubles: Sequence[str | None]) -> tuple[Finding, ...]:
    """Everything that is wrong, most urgent first.

    :param troubles: of what talks to the cluster all the time.
    """
    images, broken = configured(options)
    found = [*errors("backend", *dict.fromkeys(troubles))]
    try:
        found += errors("rights", *refusals(cluster, options.namespaces))
        found += unpullable(_pods(cluster, options))
    except KubernetesError as error:
        found = found or [*errors("backend", str(error))]
    found += errors("image", *broken)
    found += errors("settings", *unreachable(options), _open_kubeconfig(options))
    found += unstable(images)
    return (*found, *warnings("settings", _unverified(options)))


def _pods(cluster: Cluster, options: KubernetesOptions) -> Iterator[Pod]:
    for namespace in options.namespaces:
        yield from cluster.list_pods(namespace, selector(options), limit=MOST_PODS).items


def _unverified(options: KubernetesOptions) -> str | None:
    if options.verify_ssl:
        return None
    return (
        "[kubernetes_executor] verify_ssl = False: whoever is in between can read and change what is said to the "
        "cluster, start tickets among it; name its certificate in ssl_ca_cert instead"
    )


def _open_kubeconfig(options: KubernetesOptions) -> str | None:
    if options.in_cluster:
        return None
    for path in _kubeconfigs(options):
        if others_may_read(path):
            return f"{path}, which opens the cluster, can be read by every user of this host: chmod 600 {path}"
    return None


def _kubeconfigs(options: KubernetesOptions) -> list[Path]:
    """Where the client looks, too."""
    named = options.config_file or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]


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
    if not is_loopback(host):
        return []
    return [f"no pod reaches the task API at {options.task_api_url}; set [core] execution_api_server_url"]
