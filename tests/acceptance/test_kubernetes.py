"""KubernetesExecutor in a whole deployment, through the command line: the demo's DAG, and two clusters side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOT, Deployment, wait_until

from tests.kubernetes_api import FakeCluster

DAGS = ROOT / "deploy" / "kind" / "dags"
TWO = """
import os
from runtime import DAG, task

@task
def where():
    print("cluster", os.environ["CLUSTER"])
    return os.environ["CLUSTER"]

with DAG("two"):
    for n in range(3):
        where.override(task_id=f"west_{n}", executor="west")()
        where.override(task_id=f"east_{n}", executor="east")()
"""


class Clusters:
    """Fake clusters whose "image" is this checkout with the DAGs of ``deployment``; each in a process of its own."""

    def __init__(self, deployment: Deployment, *names: str) -> None:
        self._deployment = deployment
        self.by_name = {name: FakeCluster(in_process=True, env=self._image(name)) for name in names}

    def _image(self, name: str) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "HYBRID_HOME": str(self._deployment.home / "pods" / name),
            "HYBRID__CORE__DAGS_FOLDER": str(self._deployment.dags),
            "CLUSTER": name,
        }

    def options(self, name: str) -> dict[str, str]:
        kubeconfig = self.by_name[name].kubeconfig(self._deployment.home / f"{name}.kubeconfig")
        return {"in_cluster": "False", "config_file": str(kubeconfig), "worker_container_repository": "any/image"}

    def wait_until_empty(self) -> None:
        wait_until(lambda: not any(cluster.pods() for cluster in self.by_name.values()), "no pod left")

    def close(self) -> None:
        for cluster in self.by_name.values():
            cluster.close()


@pytest.fixture
def one(deployment: Deployment) -> Iterator[Clusters]:
    """A ready deployment with ``LocalExecutor, k8s:KubernetesExecutor``."""
    clusters = Clusters(deployment, "k8s")
    options = clusters.options("k8s")
    deployment.configure(
        {"core": {"executor": "LocalExecutor, k8s:KubernetesExecutor"}, "kubernetes_executor": options}
    )
    deployment.standalone()
    yield clusters
    clusters.close()


@pytest.fixture
def two(deployment: Deployment) -> Iterator[Clusters]:
    """A ready deployment with two instances, each with a cluster of its own; ``west`` overlays the other's options."""
    clusters = Clusters(deployment, "east", "west")
    deployment.configure(
        {
            "core": {"executor": "LocalExecutor, east:KubernetesExecutor, west:KubernetesExecutor"},
            "kubernetes_executor": clusters.options("east"),
            "kubernetes_executor:west": {"config_file": clusters.options("west")["config_file"]},
        }
    )
    deployment.standalone()
    yield clusters
    clusters.close()


def test_the_dag_of_the_demo_runs_half_in_pods(deployment: Deployment, one: Clusters) -> None:
    """Values go from one half to the other; the logs are found wherever a task ran; no pod, no process is left."""
    deployment.write_dag("halves", (DAGS / "halves.py").read_text())
    run = deployment.run_to_end("halves")
    executors = [record["executor"] for record in deployment.states("halves", run).values()]
    assert sorted(executors) == ["LocalExecutor"] * 6 + ["k8s"] * 6
    one.wait_until_empty()
    for task in ("compare", "compare_there"):
        assert "sums: 14 14" in deployment.hybrid("tasks", "logs", "halves", run, task).out


def test_a_pod_gets_at_nothing_but_the_task_api(deployment: Deployment, one: Clusters) -> None:
    """The DAG of ``make kind-test`` that tries it. Here nothing of a cluster is there to be got at."""
    deployment.write_dag("closed", (DAGS / "closed.py").read_text())
    run = deployment.run_to_end("closed")
    assert deployment.xcom(run, "try_all") == []


def test_nobody_sees_the_token_of_the_cluster_or_a_ticket(deployment: Deployment, one: Clusters) -> None:
    """Not in a log of a daemon, nor in an argument list."""
    deployment.write_dag("halves", (DAGS / "halves.py").read_text())
    run = deployment.trigger("halves")
    (cluster,) = one.by_name.values()
    (pod, *_) = wait_until(cluster.pods, "a pod")
    (ticket,) = (v["value"] for v in pod["spec"]["containers"][0]["env"] if v["name"] == "HYBRID_START_TICKET")
    words = " ".join(word for process in deployment.processes() for word in process.cmdline())
    deployment.wait_for_run("halves", run)
    text = words + deployment.daemons[0].text + "".join(path.read_text() for path in logs(deployment.home))
    assert "halves" in text
    for secret in (ticket, cluster.token):
        assert secret not in text


def logs(home: Path) -> list[Path]:
    return [path for path in (home / "logs").rglob("*.log") if path.is_file()]


def test_two_clusters_stay_apart(deployment: Deployment, two: Clusters) -> None:
    """Each makes the pods of its own tasks and has its own logs; one that is away leaves the other alone."""
    deployment.write_dag("two", TWO)
    run = deployment.run_to_end("two")
    for name, cluster in two.by_name.items():
        assert cluster.counters()["create pods"] == 3
        for n in range(3):
            assert deployment.xcom(run, f"{name}_{n}") == name
    two.wait_until_empty()
    assert "cluster east" in deployment.hybrid("tasks", "logs", "two", run, "east_0").out
    two.by_name["west"].refuse()
    later = deployment.trigger("two")
    for n in range(3):
        deployment.wait_for_task(later, f"east_{n}", "success")
    wait_until(lambda: health(deployment)["west"] == "unavailable", "west unavailable")
    assert health(deployment)["east"] == "healthy"
    two.by_name["west"].listen()
    assert deployment.wait_for_run("two", later) == "success"
    two.wait_until_empty()


def health(deployment: Deployment) -> dict[str, str]:
    return {row["name"]: row["health"] for row in deployment.json("executors", "list")}


def test_check_names_a_missing_right_and_an_api_that_no_pod_reaches(one: Clusters, deployment: Deployment) -> None:
    one.by_name["k8s"].forbid("delete")
    told = deployment.json("executors", "check", "k8s", code=1)
    assert [(row["name"], row["healthy"]) for row in told] == [("k8s", False)]
    missing, unreachable = told[0]["problem"].split("; see deploy/kind/manifests/access.yaml; ")
    assert missing == "may not delete pods in namespace default"
    assert unreachable.startswith("no pod reaches the task API at http://")
