"""The options of ``[kubernetes_executor]``, read once and typed. Their names are Airflow's where it has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from executors.option_reader import OptionReader

CLASS_NAMES = ("", "KubernetesExecutor", "executors.kubernetes.executor.KubernetesExecutor")
"""Names of an instance without an alias."""
FATAL_REASONS = (
    "CreateContainerConfigError",
    "ErrImagePull",
    "CreateContainerError",
    "ImageInspectError",
    "InvalidImageName",
)


@dataclass(frozen=True)
class KubernetesOptions:
    """Options of one instance; the names in brackets are the configuration's, where they differ."""

    name: str = "KubernetesExecutor"
    """The instance's name."""
    task_api_url: str = ""
    """Where pods reach the task API: ``[core] execution_api_server_url``, from the host."""
    deployment: str = ""
    """Tells the pods of two deployments in one namespace apart; by default made from ``task_api_url``."""

    # the cluster
    in_cluster: bool = True
    """Use the service account of the pod that the scheduler runs in; else ``config_file``."""
    config_file: str | None = None
    """A kubeconfig; by default the client's own: ``$KUBECONFIG`` or ``~/.kube/config``."""
    cluster_context: str | None = None
    """Of the kubeconfig; by default its current one."""
    verify_ssl: bool = True
    ssl_ca_cert: str | None = None
    request_timeout: float = 30.0
    """Seconds that one call may take: ``_request_timeout`` of [kube_client_request_args]."""
    client_retries: Mapping[str, Any] = field(default_factory=dict)
    """[api_client_retry_configuration] arguments of ``urllib3.Retry``, as JSON."""
    tcp_keepalive: tuple[int, int, int] | None = (120, 30, 6)
    """[enable_tcp_keepalive] seconds idle, seconds between probes, probes: [tcp_keep_idle], [tcp_keep_intvl],
    [tcp_keep_cnt]."""

    # the pods
    namespace: str = "default"
    namespaces: tuple[str, ...] = ("default",)
    """All that are watched: ``namespace``, and with [multi_namespace_mode] those of
    [multi_namespace_mode_namespace_list]; one name ``""`` means every namespace of the cluster."""
    pod_template_file: str | None = None
    pod_mutation_hook: str | None = None
    """``module.function``; called with each ``V1Pod`` last of all."""
    image: str = ""
    """[worker_container_repository]:[worker_container_tag]; empty: the template's own."""

    # how they are created, watched and deleted
    batch_size: int = 0
    """[worker_pods_creation_batch_size] pods handed to creation per heartbeat; 0: as many as wait."""
    creation_concurrency: int = 16
    """[pod_creation_max_concurrency] calls at once, at most."""
    publish_retries: int = -1
    """[task_publish_max_retries] times that a creation is tried again after 429, quota, 5xx or no answer; -1: until
    the attempt has been queued for too long."""
    delete_worker_pods: bool = True
    delete_worker_pods_on_failure: bool = False
    delete_grace: int | None = None
    """``grace_period_seconds`` of [delete_option_kwargs]; by default the pod's own."""
    fatal_reasons: tuple[str, ...] = FATAL_REASONS
    """[worker_pod_pending_fatal_container_state_reasons]"""
    relist_interval: float = 60.0
    """Seconds between two lists that find what the watch has missed."""
    watch_inactivity: float = 90.0
    """Seconds without a word of the API server after which a watch is opened anew. A quiet cluster sends a bookmark
    about once a minute."""
    leftover_after: float = 60.0
    """Seconds after which a pod that has ended, and is nobody's, is cleaned up."""
    pending_leftover_after: float = 3600.0
    """Seconds after which a pod that has not begun, and is nobody's, is deleted. Longer than the longest
    ``[scheduler] task_queued_timeout``: it may be another scheduler's."""
    end_grace: float = 60.0
    """Seconds that a pod may take to end after its attempt has reported; then it is deleted."""
    running_pod_log_lines: int = 100
    collect_logs: bool = True
    """Read the output of a pod before it is deleted, and keep it as the attempt's log on the scheduler's host."""


def read_options(options: Mapping[str, str], name: str, worker_config: Mapping[str, str]) -> KubernetesOptions:
    """Read ``context.options`` of the instance ``name``. Raises :class:`ExecutorConfigError` naming the option."""
    read = _Reader(options, name or CLASS_NAMES[1])
    url = worker_config.get("task_api_url", "")
    namespace = read.text("namespace", "default")
    arguments = read.mapping("kube_client_request_args")
    return KubernetesOptions(
        name=name or CLASS_NAMES[1],
        task_api_url=url,
        deployment=read.text("deployment", hashlib.sha256(url.encode()).hexdigest()[:12]),
        in_cluster=read.flag("in_cluster", True),
        config_file=read.text("config_file", "") or None,
        cluster_context=read.text("cluster_context", "") or None,
        verify_ssl=read.flag("verify_ssl", True),
        ssl_ca_cert=read.text("ssl_ca_cert", "") or None,
        request_timeout=_timeout(read, arguments),
        client_retries=read.mapping("api_client_retry_configuration"),
        tcp_keepalive=read.keepalive(),
        namespace=namespace,
        namespaces=read.namespaces(namespace),
        pod_template_file=read.text("pod_template_file", "") or None,
        pod_mutation_hook=read.text("pod_mutation_hook", "") or None,
        image=read.image(),
        batch_size=read.whole("worker_pods_creation_batch_size", 0),
        creation_concurrency=read.whole("pod_creation_max_concurrency", 16, least=1),
        publish_retries=read.whole("task_publish_max_retries", -1, least=-1),
        delete_worker_pods=read.flag("delete_worker_pods", True),
        delete_worker_pods_on_failure=read.flag("delete_worker_pods_on_failure", False),
        delete_grace=read.grace(),
        fatal_reasons=read.names("worker_pod_pending_fatal_container_state_reasons", FATAL_REASONS),
        relist_interval=read.seconds("relist_interval", 60.0, least=0.05),
        watch_inactivity=read.seconds("watch_inactivity", 90.0, least=0.05),
        leftover_after=read.seconds("leftover_after", 60.0, least=0.0),
        pending_leftover_after=read.seconds("pending_leftover_after", 3600.0, least=0.0),
        end_grace=read.seconds("end_grace", 60.0, least=0.0),
        running_pod_log_lines=read.whole("running_pod_log_lines", 100, least=1),
        collect_logs=read.flag("collect_logs", True),
    )


def _timeout(read: _Reader, arguments: dict[str, Any]) -> float:
    """Airflow's users write a number, or urllib3's pair of connect and read timeouts; the longer one counts."""
    value = arguments.pop("_request_timeout", KubernetesOptions.request_timeout)
    if arguments:
        raise read.error("kube_client_request_args", ", ".join(arguments), "is not known; use _request_timeout")
    parts = value if isinstance(value, list) else [value]
    if not parts or not all(type(part) in (int, float) and part > 0 for part in parts):
        raise read.error("kube_client_request_args", str(value), "has no _request_timeout in seconds")
    return float(max(parts))


class _Reader(OptionReader):
    def keepalive(self) -> tuple[int, int, int] | None:
        if not self.flag("enable_tcp_keepalive", True):
            return None
        return (
            self.whole("tcp_keep_idle", 120, 1),
            self.whole("tcp_keep_intvl", 30, 1),
            self.whole("tcp_keep_cnt", 6, 1),
        )

    def namespaces(self, namespace: str) -> tuple[str, ...]:
        if not self.flag("multi_namespace_mode", False):
            return (namespace,)
        listed = self.names("multi_namespace_mode_namespace_list", ())
        return tuple(dict.fromkeys((namespace, *listed))) if listed else ("",)

    def image(self) -> str:
        repository, tag = self.text("worker_container_repository", ""), self.text("worker_container_tag", "")
        if tag and not repository:
            raise self.error("worker_container_tag", tag, "needs worker_container_repository")
        return f"{repository}:{tag}" if tag else repository

    def grace(self) -> int | None:
        arguments = self.mapping("delete_option_kwargs")
        grace = arguments.pop("grace_period_seconds", None)
        if arguments:
            raise self.error("delete_option_kwargs", ", ".join(arguments), "is not known; use grace_period_seconds")
        if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 0):
            raise self.error("delete_option_kwargs", str(grace), "is no number of seconds")
        return grace
