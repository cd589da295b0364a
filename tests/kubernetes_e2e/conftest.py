"""A whole deployment on this host whose pods are in the cluster that the environment names.

``HYBRID_TEST_KUBECONFIG`` (its current context), ``HYBRID_TEST_NAMESPACE``, ``HYBRID_TEST_IMAGE`` (this project and
the files of ``dags/`` in its DAGs folder), ``HYBRID_TEST_API_URL`` (where pods reach the task API, which is served
here, on the port of that address). Nothing else is assumed of the cluster.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.acceptance.deployment import Deployment, wait_until

HERE = Path(__file__).parent
NAMES = ("HYBRID_TEST_KUBECONFIG", "HYBRID_TEST_NAMESPACE", "HYBRID_TEST_IMAGE", "HYBRID_TEST_API_URL")
GIVEN = {name: os.environ.get(name, "") for name in NAMES}
"""Read before any test, for a test sees no HYBRID variable of whoever runs it."""
PATIENCE = 120.0
"""Seconds for whatever a cluster does: a node may have to get the image first."""
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True)
class Place:
    """Where the pods of these tests are to be made."""

    kubeconfig: str
    namespace: str
    image: str
    api_url: str

    @property
    def is_here(self) -> bool:
        """Whether pods reach this host by its loopback address, as those of the fake do."""
        host = urlsplit(self.api_url).hostname or ""
        return host == "localhost" or (host[:1].isdigit() and ipaddress.ip_address(host).is_loopback)


class Pods:
    """The pods of one deployment, through the official client and nothing of ours."""

    def __init__(self, place: Place, deployment: str) -> None:
        from kubernetes import client, config

        self._client = config.new_client_from_config(config_file=place.kubeconfig)
        self._api = client.CoreV1Api(self._client)
        self._namespace, self._selector = place.namespace, f"hybrid_deployment={deployment}"

    def all(self) -> list[Any]:
        found: list[Any] = self._api.list_namespaced_pod(self._namespace, label_selector=self._selector).items
        return found

    def of(self, task_id: str) -> list[Any]:
        return [pod for pod in self.all() if pod.metadata.annotations["hybrid.dev/task-id"] == task_id]

    def delete(self, pod: Any, grace: int | None = 0) -> None:
        """``None``: with its own grace; 0: at once, as if its node were gone. One that is gone already is fine."""
        from kubernetes.client import ApiException

        given = {} if grace is None else {"grace_period_seconds": grace}
        try:
            self._api.delete_namespaced_pod(pod.metadata.name, self._namespace, **given)
        except ApiException as error:
            if error.status != 404:
                raise

    def wait_until_none(self) -> None:
        wait_until(lambda: not self.all(), "all pods gone", PATIENCE, lambda: [pod.metadata.name for pod in self.all()])

    def close(self) -> None:
        for pod in self.all():
            self.delete(pod)
        self._client.close()


class ClusterDeployment(Deployment):
    """A home whose executor ``k8s`` makes pods at ``place``; ``pods`` are those of this home."""

    def __init__(self, home: Path, place: Place) -> None:
        self.place = place
        self._name = f"e2e-{secrets.token_hex(4)}"
        super().__init__(home)
        self.pods = Pods(place, self._name)
        shutil.copytree(HERE / "dags", self.dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (home / "pod.yaml").write_text(yaml.safe_dump(template(place.image)))
        self.configure({})

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``hybrid.cfg`` for ``place``, overlaid with ``options``."""
        address = urlsplit(self.place.api_url)
        given: dict[str, dict[str, Any]] = {
            "core": {
                "executor": "LocalExecutor, k8s:KubernetesExecutor",
                "execution_api_server_url": self.place.api_url,
            },
            "api": {"host": "127.0.0.1" if self.place.is_here else "0.0.0.0", "port": address.port or 80},
            "scheduler": {"task_instance_heartbeat_timeout": "10", "job_heartbeat_sec": "0.3", "shutdown_grace": "2"},
            "kubernetes_executor": {
                "in_cluster": "False",
                "config_file": self.place.kubeconfig,
                "namespace": self.place.namespace,
                "pod_template_file": self.home / "pod.yaml",
                "deployment": self._name,
            },
        }
        super().configure({name: {**given.get(name, {}), **options.get(name, {})} for name in {*given, *options}})

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.pods.close()


def template(image: str) -> dict[str, Any]:
    """Admitted in a namespace with the standard "restricted"; with short heartbeats."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 50000,
                "fsGroup": 50000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "base",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": CONFINED,
                    "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
                    "env": [
                        {"name": "HYBRID__SCHEDULER__TASK_HEARTBEAT_SEC", "value": "0.5"},
                        {"name": "HYBRID__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "value": "10"},
                    ],
                }
            ],
        },
    }


@pytest.fixture(scope="session")
def place() -> Place:
    """What the environment says; a run that lacks some of it fails, for it was asked for by ``-m kubernetes``."""
    if missing := [name for name, value in GIVEN.items() if not value]:
        pytest.exit(f"the tests on a cluster need {', '.join(missing)}; docs/kubernetes.md says what they are", 2)
    return Place(*GIVEN.values())


@pytest.fixture
def deployment(tmp_path: Path, place: Place) -> Iterator[ClusterDeployment]:
    """An empty home, nothing running; in the end no process and no pod is left."""
    made = ClusterDeployment(tmp_path / "home", place)
    yield made
    made.close()
