"""``make kind-test`` as far as it goes without kind: its script asks a ``kubectl`` that leads to a deployment here."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import HYBRID, ROOT, Deployment

from tests.kubernetes_api import FakeCluster

KIND = ROOT / "deploy" / "kind"
PRINTED = "sums: 14 14"
KUBECTL = f"""\
#!{sys.executable}
import json, os, sys, urllib.request
context, *words = sys.argv[2:]
assert (sys.argv[1], context) == ("--context", "kind-hybrid"), sys.argv
print(*words, file=open(os.environ["RECORD"], "a"))

def get(path):
    headers = {{"Authorization": "Bearer " + os.environ["CLUSTER_TOKEN"]}}
    return urllib.request.urlopen(urllib.request.Request(os.environ["CLUSTER_URL"] + path, headers=headers)).read()

match words:
    case ["-n", "hybrid", "exec", "deployment/scheduler", "-c", "scheduler", "--", "hybrid", *rest]:
        os.execv(sys.executable, [*{list(HYBRID)!r}, *rest])
    case ["-n", "hybrid", "exec", "deployment/scheduler", "-c", "scheduler", "--", "sh", "-c", script]:
        os.execv("/bin/sh", ["sh", "-c", script.replace("/var/lib/hybrid", os.environ["HYBRID_HOME"])])
    case ["-n", "hybrid", "exec", daemon, "-c", name, "--", "python", "/opt/hybrid/healthy.py", asked]:
        assert daemon == "deployment/" + name and name == asked
    case ["-n", namespace, "get", "pods", "-o", "json"]:
        print(get(f"/api/v1/namespaces/{{namespace}}/pods").decode())
    case ["-n", "hybrid", "get", "secret", "hybrid", "-o", "json"]:
        print(os.environ["SECRET_DOCUMENT"])
    case ["-n", "hybrid", "logs", daemon]:
        print("quiet")
    case ["auth", "can-i", verb, resource, "--subresource", sub, "-n", namespace, "--as", user]:
        allowed = (resource, namespace) == ("pods", "hybrid-tasks") and sub in ("", "log")
        print("yes" if allowed else "no")
        sys.exit(not allowed)
    case _:
        sys.exit(f"not expected: {{words}}")
"""


@pytest.fixture
def cluster(deployment: Deployment) -> Iterator[FakeCluster]:
    """Of a deployment as ``deploy/kind`` has it, with its DAGs."""
    for path in (KIND / "dags").glob("*.py"):
        deployment.write_dag(path.stem, path.read_text())
    image = {
        "PYTHONPATH": str(ROOT),
        "HYBRID_HOME": str(deployment.home / "pods"),
        "HYBRID__CORE__DAGS_FOLDER": str(deployment.dags),
    }
    with FakeCluster(in_process=True, env=image, namespaces=("hybrid", "hybrid-tasks")) as made:
        options = {
            "in_cluster": "False",
            "config_file": str(made.kubeconfig(deployment.home / "kubeconfig")),
            "namespace": "hybrid-tasks",
            "worker_container_repository": "hybrid-dags",
        }
        executors = {"executor": "LocalExecutor, k8s:KubernetesExecutor"}
        deployment.configure({"core": executors, "kubernetes_executor": options})
        deployment.standalone()
        yield made


def run(deployment: Deployment, cluster: FakeCluster, tmp_path: Path, secret: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RECORD": str(tmp_path / "asked"),
        "CLUSTER_URL": cluster.url,
        "CLUSTER_TOKEN": cluster.token,
        "SECRET_DOCUMENT": json.dumps({"data": {"jwt-secret": base64.b64encode(secret.encode()).decode()}}),
    }
    command = [sys.executable, str(KIND / "check.py")]
    return subprocess.run(
        command, env=deployment.environment | variables, capture_output=True, text=True, check=False, timeout=250
    )


@pytest.mark.timeout(300)
def test_it_finds_what_is_wrong_here_and_nothing_else(
    deployment: Deployment, cluster: FakeCluster, tmp_path: Path
) -> None:
    """Pods of the fake have this host's name and not their own, and a "secret" is what a task prints."""
    done = run(deployment, cluster, tmp_path, PRINTED)
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("ok ", "FAILED "))]
    assert lines == ["FAILED", "ok", "ok", "ok", "ok", "ok", "FAILED"], done.stdout + done.stderr
    *pods, secret = done.stderr.splitlines()
    assert len(pods) == 6, done.stderr
    assert all("success, k8s, hybrid-tasks/halves-" in line for line in pods)
    assert secret == "PROBLEM: jwt-secret is in the tasks' logs"
    assert done.returncode == 1
