"""What becomes of attempts whose pods are taken away, run out of memory or cannot start, seen by the command line."""

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


INFRASTRUCTURE = {
    "evict": "Evicted: The node was low on resource: memory.",
    "shut_down_node": "Terminated: Pod was terminated in response to imminent node shutdown.",
    "preempt": "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
    "evict_by_api": "EvictionByEvictionAPI: Eviction API: evicting",
    "delete": "its pod was deleted",
}


def test_what_is_taken_away_costs_no_try(deployment: Deployment, cluster: FakeCluster) -> None:
    """Nobody waits for a timeout either: the kubelet has said that it ended. With SIGTERM first, or without."""
    run = begin(deployment, *INFRASTRUCTURE)
    for switch in INFRASTRUCTURE:
        getattr(cluster, switch)(pod_of(deployment, run, switch))
    wait_until(lambda: all(len(deployment.attempts(run, one)) == 2 for one in INFRASTRUCTURE), "second attempts")
    let_go(deployment, *INFRASTRUCTURE)
    assert deployment.wait_for_run("d", run) == "success"
    for switch, reason in INFRASTRUCTURE.items():
        first, second = deployment.attempts(run, switch)
        assert (first["state"], second["state"], second["try_number"]) == ("lost", "success", 1), switch
        assert reason in first["reason"], switch
        assert deployment.states("d", run)[switch]["infra_losses"] == 1


def test_what_runs_out_of_memory_costs_a_try(deployment: Deployment, cluster: FakeCluster) -> None:
    run = begin(deployment, "a")
    cluster.oom_kill(pod_of(deployment, run, "a"))
    wait_until(lambda: len(deployment.attempts(run, "a")) == 2, "a second attempt")
    let_go(deployment, "a")
    assert deployment.wait_for_run("d", run) == "success"
    first, second = deployment.attempts(run, "a")
    assert (first["state"], first["reason"]) == ("failed", "exit code 137 (SIGKILL): OOMKilled")
    assert (second["state"], second["try_number"]) == ("success", 2)
    assert deployment.states("d", run)["a"]["infra_losses"] == 0


def test_a_cleared_task_begins_anew(deployment: Deployment, cluster: FakeCluster) -> None:
    """Its pod is deleted, which looks the same from within; this end is reported."""
    run = begin(deployment, "a")
    pod_of(deployment, run, "a")
    deployment.hybrid("tasks", "clear", "d", "-r", run, "-y")
    wait_until(lambda: len(deployment.attempts(run, "a")) == 2, "a second attempt")
    let_go(deployment, "a")
    assert deployment.wait_for_run("d", run) == "success"
    first, _ = deployment.attempts(run, "a")
    assert (first["state"], first["reason"]) == ("failed", "its supervisor got SIGTERM")


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
    why = wait_until(lambda: deployment.states("d", run)["a"]["waiting_on"], "a reason")
    assert why.startswith("Unschedulable: 0/")
    assert "a: queued: Unschedulable" not in deployment.hybrid("tasks", "logs", "d", run, "a").out
    assert "queued: Unschedulable: 0/" in deployment.hybrid("tasks", "logs", "d", run, "a").err
    cluster.release()
    let_go(deployment, "a")
    assert deployment.wait_for_run("d", run) == "success"
    assert deployment.states("d", run)["a"]["waiting_on"] is None
