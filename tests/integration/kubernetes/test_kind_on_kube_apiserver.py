"""``deploy/kind/manifests`` on a real kube-apiserver: it takes them all, and the scheduler's account may do its work.

Run with ``-m kube_apiserver``, as ``test_fake_api_semantics.py`` is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config
from kubernetes.client import ApiClient, AuthorizationV1Api, CoreV1Api
from kubernetes.utils import create_from_dict

from executors.kubernetes.client import Cluster
from executors.kubernetes.errors import ForbiddenError
from executors.kubernetes.health import NEEDED, refusals
from executors.kubernetes.options import KubernetesOptions
from tests.kubernetes_api.real import RealCluster

MANIFESTS = Path(__file__).resolve().parents[3] / "deploy/kind/manifests"
TASKS = "hybrid-tasks"
pytestmark = pytest.mark.kube_apiserver


def documents() -> list[dict[str, Any]]:
    order = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [document for name in order for document in yaml.safe_load_all((MANIFESTS / name).read_text())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    with RealCluster(os.environ["HYBRID_TEST_KUBE_APISERVER"], os.environ["HYBRID_TEST_ETCD"]) as made:
        yield made


@pytest.fixture(scope="module")
def admin(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    """With everything applied."""
    kubeconfig = cluster.kubeconfig(tmp_path_factory.mktemp("admin") / "kubeconfig")
    client = config.new_client_from_config(config_file=str(kubeconfig))
    for document in documents():
        create_from_dict(client, document)
    yield client
    client.close()


@pytest.fixture
def scheduler(cluster: RealCluster, admin: ApiClient, tmp_path: Path) -> Iterator[Cluster]:
    """What the executor has, with a token of the scheduler's service account."""
    request = {"spec": {"audiences": [], "expirationSeconds": 600}}
    made = CoreV1Api(admin).create_namespaced_service_account_token("scheduler", "hybrid", request)
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", made.status.token)
    opened = Cluster(KubernetesOptions(in_cluster=False, config_file=str(kubeconfig), namespace=TASKS))
    yield opened
    opened.close()


def test_the_health_check_misses_nothing_where_the_tasks_are(scheduler: Cluster) -> None:
    assert refusals(scheduler, [TASKS]) == []
    (elsewhere,) = refusals(scheduler, ["hybrid"])
    assert "may not create pods" in elsewhere


def test_a_pod_of_the_template_is_taken_and_can_be_looked_after(scheduler: Cluster) -> None:
    (settings,) = (found for found in documents() if found["metadata"]["name"] == "pod-template")
    pod = yaml.safe_load(settings["data"]["pod_template.yaml"])
    pod["metadata"] = {"name": "one", "labels": {"a": "b"}}
    scheduler.create_pod(TASKS, pod)
    scheduler.patch_labels(TASKS, "one", {"a": "c"})
    assert [found["metadata"]["name"] for found in scheduler.list_pods(TASKS, "a=c").items] == ["one"]
    scheduler.delete_pod(TASKS, "one", grace=0)
    with pytest.raises(ForbiddenError, match="hybrid"):
        scheduler.create_pod("hybrid", pod)


@pytest.mark.parametrize("account", ["hybrid:scheduler", "hybrid:daemon", "hybrid-tasks:task"])
def test_nobody_may_do_more(admin: ApiClient, account: str) -> None:
    """Of what is worth having; the scheduler what it needs, the others nothing."""
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    kinds = (("pods", ""), ("pods", "log"), ("pods", "exec"), ("secrets", ""), ("configmaps", ""))
    allowed = {
        (verb, resource, subresource, namespace)
        for verb in verbs
        for resource, subresource in kinds
        for namespace in ("hybrid", TASKS, "default", "kube-system")
        if may(admin, account, verb, resource, subresource, namespace)
    }
    assert allowed == ({(*right, TASKS) for right in NEEDED} if account == "hybrid:scheduler" else set())


def may(client: ApiClient, account: str, verb: str, resource: str, subresource: str, namespace: str) -> bool:
    attributes = {"verb": verb, "resource": resource, "subresource": subresource, "namespace": namespace}
    namespace_of, _ = account.split(":")
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace_of}", "system:authenticated"]
    spec = {"user": f"system:serviceaccount:{account}", "groups": groups, "resourceAttributes": attributes}
    answer = AuthorizationV1Api(client).create_subject_access_review({"spec": spec})
    return bool(answer.status.allowed)
