"""``hybrid kubernetes cleanup-pods``: deletes pods that nobody needs any more, by Airflow's rules."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from executors.errors import ExecutorError
from executors.kubernetes.building.naming import DEPLOYMENT, INSTANCE, OURS
from executors.kubernetes.client import Cluster
from executors.kubernetes.commands import chosen
from executors.kubernetes.errors import ConflictError, GoneError

PAGE = 500
LEAST_MINUTES = 5
SELECTOR = f"{OURS}=True,{INSTANCE},{DEPLOYMENT}"
"""Of every pod that this executor ever made, whichever instance and deployment; an Airflow's are without the latter."""


def cleanup_pods(args: Namespace) -> int:
    """Delete pods that succeeded, failed, were evicted, or are pending for too long; print each.

    Raises :class:`ExecutorError`, :class:`KubernetesError`.
    """
    if args.min_pending_minutes < LEAST_MINUTES:
        raise ExecutorError(f"--min-pending-minutes {args.min_pending_minutes}: {LEAST_MINUTES} is the least")
    _, options = chosen(args)
    namespaces = (args.namespace,) if args.namespace else options.namespaces
    cluster = Cluster(options)
    try:
        for namespace in namespaces:
            deleted = sum(_clean_up(cluster, namespace, args.min_pending_minutes * 60.0))
            _say(f"{namespace or 'all namespaces'}: {deleted} pods deleted")
    finally:
        cluster.close()
    return 0


def why(pod: Mapping[str, Any], pending_seconds: float, now: float) -> str | None:
    """Why the pod is to be deleted; ``None`` where it is not."""
    status = pod.get("status") or {}
    phase, reason = status.get("phase") or "Pending", status.get("reason") or ""
    if phase == "Succeeded":
        return "succeeded"
    if reason.lower() == "evicted":
        return "was evicted"
    if phase == "Failed" and (pod.get("spec") or {}).get("restartPolicy") == "Never":
        return f"failed{f': {reason}' if reason else ''}"
    age = now - _created(pod, now)
    if phase == "Pending" and age > pending_seconds:
        return f"has been pending for {age / 60:.0f} minutes"
    return None


def _clean_up(cluster: Cluster, namespace: str, pending_seconds: float) -> Iterator[bool]:
    """For each pod that was to be deleted, whether it was this one that was deleted."""
    for pod in _pods(cluster, namespace):
        reason = why(pod, pending_seconds, time.time())
        if reason is None:
            continue
        metadata = pod["metadata"]
        where = f"{metadata['namespace']}/{metadata['name']}"
        try:
            cluster.delete_pod(metadata["namespace"], metadata["name"], uid=metadata["uid"])
        except ConflictError:
            continue  # another pod of that name by now
        _say(f"{where} {reason}: deleted")
        yield True


def _pods(cluster: Cluster, namespace: str) -> Iterator[dict[str, Any]]:
    """Page by page; from the beginning where a page is asked for too late."""
    more: str | None = None
    while True:
        try:
            page = cluster.list_pods(namespace, SELECTOR, limit=PAGE, continue_=more)
        except GoneError:
            if more is None:
                raise
            more = None
            continue
        yield from page.items
        more = page.continue_
        if not more:
            return


def _created(pod: Mapping[str, Any], now: float) -> float:
    try:
        return datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return now


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
