"""KubernetesExecutor on a cluster, through the command line: what runs where, what is left, and what faults cost."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.acceptance.deployment import wait_until
from tests.kubernetes_e2e.conftest import PATIENCE, ClusterDeployment

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


def run(deployment: ClusterDeployment, dag: str, expected: str = "success") -> str:
    """Run it to its end; its run id."""
    run_id = deployment.trigger(dag)
    assert deployment.wait_for_run(dag, run_id, PATIENCE) == expected, deployment.states(dag, run_id)
    return run_id


def running(deployment: ClusterDeployment, dag: str, task: str) -> tuple[str, Any]:
    """A run of it, and the one pod of a task of it that has begun."""
    run_id = deployment.trigger(dag)
    deployment.wait_for_task(run_id, task, "running", PATIENCE)
    (pod,) = deployment.pods.of(task)
    return run_id, pod


def test_half_of_a_dag_runs_in_pods(deployment: ClusterDeployment) -> None:
    """Values go from one half to the other, every log is found, no pod is left, everybody is well."""
    deployment.standalone()
    run_id = run(deployment, "e2e_halves")
    states = deployment.states("e2e_halves", run_id)
    assert {task: row["executor"] for task, row in states.items()} == {
        "numbers": "LocalExecutor",
        "total": "k8s",
        "double": "LocalExecutor",
    }
    namespace, _, pod = states["total"]["external_executor_id"].partition("/")
    assert namespace == deployment.place.namespace
    assert pod.startswith("e2e-halves-total-")
    assert deployment.place.is_here or states["total"]["hostname"] == pod
    assert deployment.xcom(run_id, "double") == 12
    deployment.pods.wait_until_none()
    assert "total of [1, 2, 3]" in deployment.hybrid("tasks", "logs", "e2e_halves", run_id, "total").out
    assert "double of 6" in deployment.hybrid("tasks", "logs", "e2e_halves", run_id, "double").out
    health = {row["name"]: (row["health"], row["reason"]) for row in deployment.json("executors", "list")}
    assert deployment.place.is_here or health["k8s"] == ("healthy", None)


def test_a_pod_is_what_its_task_asks_for_and_its_secret_is_in_no_argument(deployment: ClusterDeployment) -> None:
    deployment.configure({"kubernetes_executor": {"delete_worker_pods": "False"}})
    deployment.standalone()
    run_id = run(deployment, "e2e_override")
    assert deployment.xcom(run_id, "tells") == [], "variables that a pod must not have"
    (pod,) = wait_until(
        lambda: [p for p in deployment.pods.all() if p.metadata.labels.get("kubernetes_executor_done")],
        "kept",
        PATIENCE,
    )
    assert pod.metadata.labels["team"] == "blue"
    assert pod.metadata.annotations["why"] == "a test"
    assert pod.metadata.annotations["hybrid.dev/run-id"] == run_id
    (base,) = pod.spec.containers
    values = {variable.name: variable.value for variable in base.env}
    assert values["COLOUR"] == "blue"
    assert values["HYBRID_START_TICKET"]
    assert values["HYBRID_START_TICKET"] not in " ".join([*(base.command or ()), *(base.args or ())])
    assert "colour blue" in deployment.hybrid("tasks", "logs", "e2e_override", run_id, "tells").out


def test_an_override_may_be_an_object_of_the_client(deployment: ClusterDeployment) -> None:
    deployment.standalone()
    run_id = run(deployment, "e2e_v1pod")
    assert deployment.xcom(run_id, "tells") == "blue"
    deployment.pods.wait_until_none()


def test_a_wrong_override_fails_that_task_alone_and_says_why(deployment: ClusterDeployment) -> None:
    deployment.standalone()
    run_id = run(deployment, "e2e_wrong", "failed")
    assert deployment.task_states(run_id) == {"good": "success", "wrong": "failed"}
    (attempt,) = deployment.attempts(run_id, "wrong")
    assert "nodeSelektor" in attempt["reason"]
    assert not deployment.pods.of("wrong")
    deployment.pods.wait_until_none()


@pytest.mark.parametrize(("dag", "task"), [("e2e_fails", "fails"), ("e2e_dies", "dies")])
def test_a_failure_is_retried_as_the_task_says_and_its_pods_are_kept(
    deployment: ClusterDeployment, dag: str, task: str
) -> None:
    """Two tries, two pods, labelled as done: ``delete_worker_pods_on_failure`` is off."""
    deployment.standalone()
    run_id = run(deployment, dag, "failed")
    tries = [attempt["try_number"] for attempt in deployment.attempts(run_id, task)]
    assert tries == [1, 2]
    wait_until(
        lambda: (
            [pod.metadata.labels.get("kubernetes_executor_done") for pod in deployment.pods.of(task)]
            == ["True", "True"]
        ),
        "two pods, kept",
        PATIENCE,
    )


@pytest.mark.parametrize("grace", [None, 0], ids=["in-good-order", "by-force"])
def test_a_pod_that_is_deleted_by_hand_is_the_infrastructures_loss(
    deployment: ClusterDeployment, grace: int | None
) -> None:
    """The same try is repeated in another pod, and charged to ``infra_retries``."""
    deployment.standalone()
    run_id, pod = running(deployment, "e2e_slow", "slow")
    deployment.pods.delete(pod, grace)
    assert deployment.wait_for_run("e2e_slow", run_id, PATIENCE) == "success"
    attempts = deployment.attempts(run_id, "slow")
    assert [(attempt["try_number"], attempt["dispatch_number"]) for attempt in attempts] == [(1, 1), (1, 2)]
    assert deployment.states("e2e_slow", run_id)["slow"]["infra_losses"] == 1
    deployment.pods.wait_until_none()


def test_a_scheduler_that_is_killed_has_its_pods_taken_over(deployment: ClusterDeployment) -> None:
    """The attempt goes on in its pod, its log is found live and later, the next scheduler cleans its pod up."""
    deployment.hybrid("db", "migrate")
    for daemon in ("api-server", "dag-processor"):
        deployment.start(daemon)
    first = deployment.scheduler()
    run_id, pod = running(deployment, "e2e_slow", "slow")
    words = ("tasks", "logs", "e2e_slow", run_id, "slow")
    wait_until(lambda: "slow begins" in deployment.hybrid(*words).out, "the live log", PATIENCE)
    first.send(signal.SIGKILL)
    first.wait()
    deployment.scheduler()
    assert deployment.wait_for_run("e2e_slow", run_id, PATIENCE) == "success"
    (attempt,) = deployment.attempts(run_id, "slow")
    assert attempt["external_id"] == f"{pod.metadata.namespace}/{pod.metadata.name}"
    deployment.pods.wait_until_none()
    assert "slow begins" in deployment.hybrid(*words).out


def test_what_is_cleared_while_it_runs_loses_its_pod(deployment: ClusterDeployment) -> None:
    deployment.standalone()
    run_id, pod = running(deployment, "e2e_slow", "slow")
    deployment.hybrid("tasks", "clear", "e2e_slow", "--run-id", run_id, "-y")
    wait_until(
        lambda: pod.metadata.name not in [found.metadata.name for found in deployment.pods.of("slow")],
        "the first pod gone",
        PATIENCE,
    )
    assert deployment.wait_for_run("e2e_slow", run_id, PATIENCE) == "success"
    deployment.pods.wait_until_none()
