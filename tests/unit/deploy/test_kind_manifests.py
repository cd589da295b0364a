"""``deploy/kind/manifests``: valid, without secrets, with the least rights, and confined as the checklist wants it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from executors.kubernetes.options import read_options
from runtime.config import load
from runtime.config.worker import remote_worker_config

ROOT = Path(__file__).resolve().parents[3]
KIND = ROOT / "deploy/kind"
FILES = sorted(path for path in (KIND / "manifests").glob("*.yaml") if path.name != "kustomization.yaml")
DAEMONS = {"api-server", "scheduler", "dag-processor"}
VERSIONS = ("1.25.0", "1.30.0", kubernetes_validate.latest_version())
"""Of Kubernetes: the first with pod security admission for good, one between, and the newest that is known."""
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
SECRET_WORDS = re.compile(r"password|secret|token|key|conn\b|credential", re.IGNORECASE)


@cache
def documents() -> list[dict[str, Any]]:
    """What is applied."""
    return [document for path in FILES for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] == kind]


def the(kind: str, name: str) -> dict[str, Any]:
    (found,) = (document for document in of_kind(kind) if document["metadata"]["name"] == name)
    return found


@cache
def pod_template() -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load(the("ConfigMap", "pod-template")["data"]["pod_template.yaml"])
    return template


def pod_specs() -> dict[str, dict[str, Any]]:
    """Workload → its pod's spec."""
    workloads = {document["metadata"]["name"]: document for document in of_kind("Deployment") + of_kind("StatefulSet")}
    return {name: found["spec"]["template"]["spec"] for name, found in workloads.items()} | {
        "task": pod_template()["spec"]
    }


def containers() -> dict[str, dict[str, Any]]:
    """Workload/container → it, those of the beginning too."""
    return {
        f"{name}/{container['name']}": container
        for name, spec in pod_specs().items()
        for container in [*spec.get("initContainers", ()), *spec["containers"]]
    }


def settings() -> dict[str, str]:
    data: dict[str, str] = the("ConfigMap", "settings")["data"]
    return data


def variables(container: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container.get("env", ())}


class TestTheyAreValid:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_document_is_what_the_schema_wants(self, version: str) -> None:
        for document in [*documents(), pod_template()]:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise AssertionError(f"{document['kind']} {document['metadata']}: {error.message}") from error

    def test_a_wrong_one_would_be_noticed(self) -> None:
        document = deepcopy(the("Deployment", "scheduler"))
        document["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)

    def test_the_kustomization_has_every_file_and_every_image(self) -> None:
        found = yaml.safe_load((KIND / "manifests/kustomization.yaml").read_text())
        assert sorted(found["resources"]) == [path.name for path in FILES]
        wanted = {found["image"] for name, found in containers().items() if name != "task/base"}
        assert {image["name"] for image in found["images"]} == wanted
        (ours,) = (image for image in found["images"] if image["name"] == "hybrid-dags")
        assert containers()["task/base"]["image"] == f"{ours['name']}:{ours['newTag']}"

    def test_the_daemons_understand_their_settings(self, tmp_path: Path) -> None:
        """Every name is an option, and the executor finds its namespace and the template where it is mounted."""
        read = load(tmp_path, env=settings())
        service = the("Service", "api-server")
        port = service["spec"]["ports"][0]["port"]
        assert read.task_api_url == f"http://api-server.{service['metadata']['namespace']}:{port}/execution/v1"
        prefix = "HYBRID__KUBERNETES_EXECUTOR__"
        ours = {name.removeprefix(prefix).lower(): value for name, value in settings().items() if prefix in name}
        options = read_options(ours, "k8s", remote_worker_config(read))
        assert options.namespaces == (the("Role", "task-pods")["metadata"]["namespace"],)
        assert options.in_cluster
        mounts = {mount["name"]: mount["mountPath"] for mount in containers()["scheduler/scheduler"]["volumeMounts"]}
        assert options.pod_template_file == f"{mounts['pod-template']}/pod_template.yaml"

    def test_what_a_selector_names_is_there(self) -> None:
        labels = {
            found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
            for found in of_kind("Deployment") + of_kind("StatefulSet")
        }
        for name, found in labels.items():
            assert found == {"app": name}
        for service in of_kind("Service"):
            assert service["spec"]["selector"] in labels.values()

    def test_every_daemon_waits_for_the_database_and_is_watched(self) -> None:
        assert set(pod_specs()) == DAEMONS | {"postgres", "task"}
        for name in DAEMONS:
            (first,) = pod_specs()[name]["initContainers"]
            assert "db" in " ".join(first.get("args", []) + first.get("command", []))
            container = containers()[f"{name}/{name}"]
            assert container["args"] == [name]
            assert {"startupProbe", "livenessProbe"} <= set(container)

    @pytest.mark.parametrize("name", containers())
    def test_every_container_says_what_it_needs_at_most(self, name: str) -> None:
        resources = containers()[name]["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        assert "memory" in resources["limits"]
        assert containers()[name]["imagePullPolicy"] == "IfNotPresent", "kind's images come from no registry"


class TestConfinement:
    @pytest.mark.parametrize("name", containers())
    def test_a_container_can_gain_nothing_and_writes_to_no_image(self, name: str) -> None:
        assert containers()[name]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    @pytest.mark.parametrize("name", pod_specs())
    def test_a_pod_is_nobody_in_particular_and_touches_no_node(self, name: str) -> None:
        spec = pod_specs()[name]
        user = 999 if name == "postgres" else 50000
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert not [port for port in container.get("ports", ()) if "hostPort" in port]

    def test_a_namespace_admits_nothing_that_is_less_confined(self) -> None:
        """So an override or a hook that asks for more is refused by Kubernetes itself."""
        for namespace in of_kind("Namespace"):
            assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_what_is_written_to_is_mounted(self) -> None:
        for name, container in containers().items():
            paths = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in paths, name
        for name in ("scheduler/scheduler", "task/base"):
            paths = {mount["mountPath"] for mount in containers()[name]["volumeMounts"]}
            assert {"/var/lib/hybrid/logs", "/var/lib/hybrid/run"} <= paths

    def test_no_environment_is_made_of_services(self) -> None:
        """A Service may be called what it likes without becoming a HYBRID variable."""
        assert [spec["enableServiceLinks"] for spec in pod_specs().values()] == [False] * len(pod_specs())


class TestRights:
    def test_the_scheduler_alone_has_a_token_of_kubernetes(self) -> None:
        tokens = {name for name, spec in pod_specs().items() if spec["automountServiceAccountToken"]}
        assert tokens == {"scheduler"}
        assert not [account for account in of_kind("ServiceAccount") if account["automountServiceAccountToken"]]

    def test_its_rights_are_pods_in_the_namespace_of_the_tasks(self) -> None:
        assert not of_kind("ClusterRole") + of_kind("ClusterRoleBinding")
        (role,), (binding,) = of_kind("Role"), of_kind("RoleBinding")
        assert role["metadata"] == binding["metadata"]
        assert role["metadata"]["namespace"] not in {found["metadata"]["namespace"] for found in of_kind("Deployment")}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "scheduler", "namespace": "hybrid"}]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"pods", "pods/log"}
        assert "*" not in str(role["rules"])

    def test_every_account_that_a_pod_names_is_there(self) -> None:
        there = {(found["metadata"]["namespace"], found["metadata"]["name"]) for found in of_kind("ServiceAccount")}
        named = {("hybrid", spec["serviceAccountName"]) for name, spec in pod_specs().items() if name != "task"}
        assert named | {("hybrid-tasks", pod_specs()["task"]["serviceAccountName"])} == there


class TestNetwork:
    @pytest.mark.parametrize("namespace", ["hybrid", "hybrid-tasks"])
    def test_what_is_not_opened_is_closed(self, namespace: str) -> None:
        (closed,) = (
            policy
            for policy in of_kind("NetworkPolicy")
            if policy["metadata"] == {"name": "closed", "namespace": namespace}
        )
        assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def test_a_task_reaches_the_task_api_and_dns_and_nothing_else(self) -> None:
        rules = [
            rule
            for policy in of_kind("NetworkPolicy")
            if policy["metadata"]["namespace"] == "hybrid-tasks"
            for rule in policy["spec"].get("egress", ())
        ]
        assert [(self.places(rule), self.ports(rule)) for rule in rules] == [
            ([("hybrid", {"app": "api-server"})], [8080]),
            ([("kube-system", {"k8s-app": "kube-dns"})], [53, 53]),
        ]

    def test_postgres_hears_the_daemons_alone_and_speaks_to_nobody(self) -> None:
        policies = [policy for policy in of_kind("NetworkPolicy") if self.selects(policy, "postgres")]
        (opened,) = (policy for policy in policies if policy["metadata"]["name"] != "closed")
        ((rule,), (source,)) = opened["spec"]["ingress"], opened["spec"]["ingress"][0]["from"]
        assert set(source) == {"podSelector"}, "of its own namespace"
        assert set(source["podSelector"]["matchExpressions"][0]["values"]) == DAEMONS
        assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]
        assert "egress" not in opened["spec"]

    @staticmethod
    def places(rule: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
        return [
            (
                peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
                peer["podSelector"]["matchLabels"],
            )
            for peer in rule["to"]
        ]

    @staticmethod
    def ports(rule: Mapping[str, Any]) -> list[int]:
        return [port["port"] for port in rule["ports"]]

    @staticmethod
    def selects(policy: Mapping[str, Any], app: str) -> bool:
        selector = policy["spec"]["podSelector"]
        if policy["metadata"]["namespace"] != "hybrid":
            return False
        return not selector or selector.get("matchLabels") == {"app": app}


class TestSecrets:
    def test_there_is_none_in_the_tree(self) -> None:
        """No Secret, and nothing called like one that has a value."""
        assert not of_kind("Secret")
        for config in of_kind("ConfigMap"):
            assert not [name for name in config["data"] if SECRET_WORDS.search(name)]
        for container in containers().values():
            literal = [name for name, entry in variables(container).items() if "value" in entry]
            assert not [name for name in literal if SECRET_WORDS.search(name)]
        text = "".join(path.read_text() for path in KIND.rglob("*") if path.suffix in {".yaml", ".sh", ".py"})
        assert not re.findall(r"[0-9a-f]{24,}|[A-Za-z0-9+/]{40,}=*|BEGIN [A-Z ]*PRIVATE KEY", text)

    def test_every_one_that_is_asked_for_is_made(self) -> None:
        asked = {
            (reference["name"], reference["key"])
            for container in containers().values()
            for entry in variables(container).values()
            if (reference := entry.get("valueFrom", {}).get("secretKeyRef"))
        }
        script = (KIND / "secret.sh").read_text()
        made = set(re.findall(r"^  ([a-z-]+): .*\$", script.split("stringData:")[1], re.MULTILINE))
        assert asked == {("hybrid", key) for key in made}

    def test_each_pod_has_only_those_that_it_needs(self) -> None:
        has = {
            name: {reference["key"] for entry in variables(container).values() if (reference := self.reference(entry))}
            for name, container in containers().items()
        }
        both = {"database-url", "fernet-key", "jwt-secret"}
        assert has == {
            "api-server/migrate": {"database-url"},
            "api-server/api-server": both,
            "scheduler/migrated": {"database-url"},
            "scheduler/scheduler": both,
            "dag-processor/migrated": {"database-url"},
            "dag-processor/dag-processor": {"database-url", "fernet-key"},
            "postgres/postgres": {"postgres-password"},
            "task/base": set(),
        }

    def test_a_task_has_none_by_any_other_way(self) -> None:
        assert "secret" not in str(pod_template()).lower()
        assert "envFrom" not in containers()["task/base"]

    @staticmethod
    def reference(entry: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = entry.get("valueFrom", {}).get("secretKeyRef", {})
        return found
