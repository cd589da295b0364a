"""An ``ApiClient`` of the official client out of our options; never the process-wide default, so that two clusters can
be spoken to at once.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from executors.kubernetes.errors import ClusterConfigError, translated
from executors.kubernetes.options import KubernetesOptions

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

log = logging.getLogger(__name__)
_SPARE_CONNECTIONS = 8
"""For deletions, logs and access reviews; there is no limit, but what is above is not kept for reuse."""
_IMPORTING = threading.Lock()
"""The client's modules import each other in circles: two lanes that begin to import it at once would fail both."""
_TOKEN_KEPT = 1.0
"""Seconds between two questions to the client's refresh hook, which reads the environment each time."""


def make_api_client(options: KubernetesOptions) -> ApiClient:
    """Connects to nothing yet; may run the credential plugin of a kubeconfig.

    Raises :class:`ClusterConfigError` where the options, the kubeconfig or the service account are wrong.
    """
    with translated(f"{options.name}: cluster configuration"):
        with _IMPORTING:
            from kubernetes.client import ApiClient, Configuration

        configuration = Configuration()
        _load(configuration, options)
        if not options.verify_ssl:
            configuration.verify_ssl = False
            _warn_once(options.name)
        if options.ssl_ca_cert:
            configuration.ssl_ca_cert = options.ssl_ca_cert
        configuration.retries = _retries(options)
        configuration.socket_options = _socket_options(options)
        configuration.connection_pool_maxsize = (
            options.creation_concurrency + len(options.namespaces) + _SPARE_CONNECTIONS
        )
        client = ApiClient(configuration)
        client.user_agent = "hybrid-runtime"
        return client


def _warn_once(name: str) -> None:
    """Instead of urllib3, which would do so with each call."""
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    log.warning("%s: verify_ssl = False: whoever is in between can read and change what is said to the cluster", name)


class Credentials:
    """The ``authorization`` header of now: rotated token files are read again and credential plugins run again, by the
    client's own hook, in one thread at a time.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()
        self._header: dict[str, str] = {}
        self._asked = float("-inf")

    def header(self) -> dict[str, str]:
        """Empty where there is none, as with client certificates. May block for a plugin; raises what it raises."""
        with self._lock:
            if time.monotonic() - self._asked >= _TOKEN_KEPT:
                self._header = self._ask()
                self._asked = time.monotonic()
            return self._header

    def _ask(self) -> dict[str, str]:
        setting: Any = self._configuration.auth_settings().get("BearerToken")
        # A token file may end with a newline, which no header may hold.
        return {"authorization": setting["value"].strip()} if setting and setting["value"] else {}


def _load(configuration: Configuration, options: KubernetesOptions) -> None:
    from kubernetes import config
    from yaml import YAMLError

    if options.in_cluster:
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            hint = "outside of a cluster set in_cluster = False"
            raise ClusterConfigError(f"{options.name}: no service account of a pod: {error}; {hint}") from None
        return
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=options.config_file, context=options.cluster_context, client_configuration=configuration
        )
    except (OSError, TypeError, ValueError, LookupError, AttributeError, YAMLError) as error:
        where = options.config_file or "the default kubeconfig"
        raise ClusterConfigError(f"{options.name}: {where} cannot be read: {type(error).__name__}") from None


def _retries(options: KubernetesOptions) -> Any:
    """By default none: urllib3 would repeat calls, and sleep in them for ``Retry-After``. Both is done elsewhere."""
    from urllib3 import Retry

    if not options.client_retries:
        return Retry(total=False, redirect=False, respect_retry_after_header=False)
    try:
        return Retry(**options.client_retries)
    except TypeError as error:
        raise ClusterConfigError(f"{options.name}: option api_client_retry_configuration: {error}") from None


def _socket_options(options: KubernetesOptions) -> list[tuple[int, int, int]] | None:
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options

    if options.tcp_keepalive is None:
        return None
    idle, interval, count = options.tcp_keepalive
    made: list[tuple[int, int, int]] = tcp_keepalive_socket_options(idle, interval, count)
    return made
