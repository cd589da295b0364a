"""What the command line shows of attempts in pods: why they wait, and what they print."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployment import ROOT, Deployment, wait_until

from tests.kubernetes_api import FakeCluster

DAG = """
import os, time
from pathlib import Path
from runtime import DAG, task, get_current_context

def one(task_id, **options):
    @task(task_id=task_id, retries=1, retry_delay=0, **options)
    def waits():
        print("the first word")
        while not (Path(os.environ["NOTES"]) / f"go_{task_id}").exists():
            time.sleep(0.02)
        print("the last word")
    return waits()

with DAG("d", default_args={"executor": "k8s"}):
    for task_id in TASKS:
        one(task_id)
"""
NOTES = "notes"


@pytest.fixture
def cluster(deployment: Deployment) -> Iterator[FakeCluster]:
    """That of a ready deployment whose executors are ``LocalExecutor, k8s:KubernetesExecutor``."""
    notes = deployment.home / NOTES
    notes.mkdir(parents=True)
    image = {
        "PYTHONPATH": str(ROOT),
        "HYBRID_HOME": str(deployment.home / "pods"),
        "HYBRID__CORE__DAGS_FOLDER": str(deployment.dags),
        "NOTES": str(notes),
    }
    with FakeCluster(in_process=True, env=image) as made:
        options = {"config_file": str(made.kubeconfig(deployment.home / "kubeconfig")), "in_cluster": "False"}
        options |= {"worker_container_repository": "any/image", "delete_worker_pods_on_failure": "True"}
        deployment.configure(
            {
                "core": {"executor": "LocalExecutor, k8s:KubernetesExecutor"},
                "kubernetes_executor": options,
            }
        )
        deployment.standalone()
        yield made
        wait_until(lambda: not made.pods(), "no pod left")


def begin(deployment: Deployment, *task_ids: str) -> str:
    deployment.write_dag("d", DAG.replace("TASKS", repr(task_ids)))
    return deployment.trigger("d")


def pod_of(deployment: Deployment, run: str, task_id: str) -> str:
    """The name of the pod of its newest attempt, which runs."""
    deployment.wait_for_task(run, task_id, "running")
    wait_until(lambda: deployment.states("d", run)[task_id]["external_executor_id"], "a pod")
    return str(deployment.states("d", run)[task_id]["external_executor_id"]).partition("/")[2]


def let_go(deployment: Deployment, *task_ids: str) -> None:
    for task_id in task_ids:
        (deployment.home / NOTES / f"go_{task_id}").touch()


def test_its_log_is_there_while_it_runs_and_afterwards(deployment: Deployment, cluster: FakeCluster) -> None:
    run = begin(deployment, "a")
    pod = pod_of(deployment, run, "a")
    shown = wait_until(lambda: log if "first word" in (log := logs(deployment, run)) else "", "its first word")
    assert "last word" not in shown
    assert f"── k8s: The last 100 lines of pod default/{pod}" in deployment.hybrid("tasks", "logs", "d", run, "a").err
    let_go(deployment, "a")
    assert deployment.wait_for_run("d", run) == "success"
    wait_until(lambda: not cluster.pods(), "its pod is gone")
    assert logs(deployment, run).splitlines()[-1].endswith("success")
    assert "first word" in logs(deployment, run)
    files = list((deployment.home / "logs").rglob("attempt=*.log"))
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]


def logs(deployment: Deployment, run: str) -> str:
    return deployment.hybrid("tasks", "logs", "d", run, "a").out


def test_why_it_waits_is_shown(deployment: Deployment, cluster: FakeCluster) -> None:
    cluster.behave("unschedulable")
    run = begin(deployment, "a")
    wait_until(lambda: "Unschedulable" in (deployment.states("d", run)["a"]["waiting_on"] or ""), "the reason")
    assert deployment.states("d", run)["a"]["waiting_on"].startswith("executor k8s: Unschedulable: 0/")
    assert "executor k8s: Unschedulable: 0/" in deployment.hybrid("tasks", "why", "d", run, "a").out
    assert "a: queued: Unschedulable" not in deployment.hybrid("tasks", "logs", "d", run, "a").out
    assert "queued: Unschedulable: 0/" in deployment.hybrid("tasks", "logs", "d", run, "a").err
    cluster.release()
    let_go(deployment, "a")
    assert deployment.wait_for_run("d", run) == "success"
    assert deployment.states("d", run)["a"]["waiting_on"] is None
