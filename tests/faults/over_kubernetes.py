"""A deployment with a Kubernetes cluster of its own, in a process of its own, all of which is going to be hurt.

Pods are processes of this machine. They have a home of their own, in which no more than the DAG files and the journal
are the deployment's: what they tell, they tell over HTTP.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from checker import Story
from deployment import ROOT, Daemon, wait_until
from faulty import FAST, HERE, FaultyDeployment

from tests.kubernetes_api import FakeCluster

LEFTOVER_AFTER = 1.0
SLOTS = {"LocalExecutor": 4, "k8s": 12}
OPTIONS = {
    **FAST,
    "core": {"executor": "LocalExecutor, k8s:KubernetesExecutor"},
    "kubernetes_executor": {
        "in_cluster": "False",
        "worker_container_repository": "not-looked-at",
        "parallelism": "12",
        "delete_worker_pods_on_failure": "True",
        "kube_client_request_args": '{"_request_timeout": 2}',
        "relist_interval": "2",
        "watch_inactivity": "2",
        "leftover_after": str(LEFTOVER_AFTER),
        "end_grace": "5",
    },
    "workers": {"execution_api_timeout": "2", "start_patience": "5"},
}
"""What was missed is noticed soon, and no pod is kept, so that one that is left was leaked."""
HELD = """
import os
from runtime import DAG, task
from journal import busy, witnessed

GATE = os.path.join(os.environ["HYBRID_HOME"], "witness", "gate")

@task(retry_delay=0.1, executor="k8s")
def held(run_id=None, ti=None):
    with witnessed(f"{ti.task_id}.{run_id}"):
        while not (os.path.exists(GATE) or os.path.exists(f"{GATE}-{ti.task_id}")):
            busy(0.02)
    return ti.try_number

with DAG(NAME, max_active_tasks=64, dagrun_timeout=TIMEOUT):
    for task_id, arguments in TASKS.items():
        held.override(task_id=task_id, **arguments)()
"""
"""Tasks without edges that end when they are let go, one by one or all together."""


class KubernetesDeployment(FaultyDeployment):
    """``LocalExecutor`` is the default executor, ``k8s`` has the cluster.

    :param neighbour: whose cluster it shares; by default it has one of its own.
    """

    port: int
    cluster: FakeCluster

    def __init__(self, home: Path, neighbour: KubernetesDeployment | None = None) -> None:
        self.neighbour = neighbour
        if neighbour is not None:
            neighbour.neighbour = self
            self.cluster = neighbour.cluster
        else:
            self.cluster = FakeCluster(in_process=True, env={"PYTHONPATH": str(ROOT)})
        self._owns_cluster = neighbour is None
        super().__init__(home)

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """See :meth:`Deployment.configure`; ``options`` overlay ``OPTIONS``, section by section."""
        if not hasattr(self, "port"):
            self.port = _free_port()
        merged = {section: dict(values) for section, values in OPTIONS.items()}
        merged["api"] = {"port": str(self.port)}
        merged["kubernetes_executor"]["config_file"] = str(self.cluster.kubeconfig(self.home / "kubeconfig"))
        merged["kubernetes_executor"]["pod_template_file"] = str(self._template())
        for section, values in options.items():
            merged[section] = {**merged.get(section, {}), **values}
        super().configure(merged)

    def close(self) -> None:
        """See :meth:`Deployment.close`; the cluster goes last."""
        self.cluster.thaw()
        try:
            super().close()
        finally:
            if self._owns_cluster:
                self.cluster.close()

    def processes(self) -> list[psutil.Process]:
        """See :meth:`Deployment.processes`; the API server is none of them, nor is what a neighbour runs."""
        found = [process for process in super().processes() if process.pid != self.cluster.pid]
        if self.neighbour is None:
            return found
        roots = {daemon.pid for daemon in self.neighbour.daemons}
        return [one for one in found if one.pid not in roots and not any(up.pid in roots for up in _ancestors(one))]

    def api(self) -> Daemon:
        """Start ``hybrid api-server`` and wait until it listens."""
        daemon = self.start("api-server")
        self.wait_for_words(daemon, "listens on")
        return daemon

    # -- tasks -----------------------------------------------------------------------------------------------------

    def held(
        self, *tasks: str, dag_id: str = "held", dagrun_timeout: float | None = None, **more: Mapping[str, Any]
    ) -> None:
        """Add a DAG with tasks of these names; ``more``: with arguments of theirs."""
        arguments: dict[str, Mapping[str, Any]] = {**{name: {} for name in tasks}, **more}
        values = {"NAME": dag_id, "TASKS": arguments, "TIMEOUT": dagrun_timeout}
        self.write_dag(dag_id, re.sub("NAME|TASKS|TIMEOUT", lambda found: repr(values[found[0]]), HELD))
        self.wait_for_dag(dag_id)

    def open_gate(self, task_id: str | None = None) -> None:
        """Let the task end, or all."""
        (self.home / "witness" / (f"gate-{task_id}" if task_id else "gate")).touch()

    def wait_for_attempt(self, run_id: str, task_id: str, count: int = 1, seconds: float = 30.0) -> dict[str, Any]:
        """The ``count``-th attempt of a task, once it is committed."""
        wait_until(
            lambda: len(self.attempts(run_id, task_id)) >= count,
            f"attempt {count} of {task_id}",
            seconds,
            story=lambda: self.attempts(run_id, task_id),
        )
        return self.attempts(run_id, task_id)[count - 1]

    def wait_for_user_code(self, run_id: str, *tasks: str) -> None:
        """Until user code of the newest attempt of each of them runs."""
        journal = self.home / "witness" / "lines"

        def runs(task_id: str) -> bool:
            attempts = self.attempts(run_id, task_id)
            return bool(attempts) and journal.exists() and f"start {attempts[-1]['id']} " in journal.read_text()

        wait_until(lambda: all(map(runs, tasks)), "user code to run", story=lambda: self.task_states(run_id))

    def waiting_on(self, run_id: str, task_id: str, dag_id: str = "held") -> str:
        """Why the task waits, as a person is told; empty where nobody has said so."""
        return self.states(dag_id, run_id)[task_id]["waiting_on"] or ""

    def wait_for_reason(self, run_id: str, task_id: str, words: str, dag_id: str = "held") -> None:
        """Until a person who looks at the run is told that the task waits because of ``words``."""
        wait_until(
            lambda: words in self.waiting_on(run_id, task_id, dag_id),
            f"{task_id} to wait on {words!r}",
            story=lambda: self.attempts(run_id, task_id),
        )

    # -- pods ------------------------------------------------------------------------------------------------------

    def pod_of(self, task_id: str) -> str:
        """The name of the only pod that there is of a task, once there is one."""
        found = wait_until(lambda: self.cluster.pods(selector=f"task_id={task_id}"), f"a pod of {task_id}")
        assert len(found) == 1, f"{len(found)} pods of {task_id}"
        return str(found[0]["metadata"]["name"])

    def finish(self, pod: str, exit_code: int = 0) -> None:
        """End a pod that pretends to run, once it does."""
        self.wait_for_phase(pod, "Running")
        self.cluster.finish(pod, exit_code)

    def wait_for_no_pods(self, selector: str = "", seconds: float = 30.0) -> None:
        """Until every pod is gone from the cluster."""
        wait_until(
            lambda: not self.cluster.pods(selector=selector),
            "the last pod to go",
            seconds,
            story=lambda: [(pod["metadata"]["name"], pod["status"]) for pod in self.cluster.pods(selector=selector)],
        )

    def wait_for_phase(self, pod: str, *phases: str) -> None:
        """Until the pod is in one of them."""
        wait_until(lambda: (self.cluster.pod(pod) or {})["status"]["phase"] in phases, f"{pod} to be {phases}")

    def created(self) -> int:
        """Pods that the API server has made, whoever has asked for them."""
        return sum(one["status"] == 201 for one in self.cluster.journal("create", "pods"))

    # -- daemons ---------------------------------------------------------------------------------------------------

    def kill(self, scheduler: Daemon) -> None:
        """SIGKILL, also to one that is stopped."""
        scheduler.send(signal.SIGKILL)
        scheduler.wait()

    def wait_for_health(self, health: str, words: str) -> None:
        """Until ``hybrid executors list`` says so of ``k8s``."""

        def told() -> bool:
            (found,) = (one for one in self.json("executors", "list") if one["name"] == "k8s")
            return found["health"] == health and words in (found["reason"] or "")

        wait_until(told, f"health {health}", story=lambda: self.json("executors", "list"))

    def _template(self) -> Path:
        """A pod's variables, which an image would bring."""
        image = {
            "HYBRID_HOME": str(self._pods_home()),
            "HYBRID__CORE__DAGS_FOLDER": str(self.dags),
            "HYBRID__CORE__KILLED_TASK_CLEANUP_TIME": "2",
            **{f"HYBRID__WORKERS__{name.upper()}": value for name, value in OPTIONS["workers"].items()},
        }
        base = {
            "name": "base",
            "image": "any",
            "env": [{"name": name, "value": value} for name, value in image.items()],
        }
        path = self.home / "template.yaml"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [base]}}))
        return path

    def _pods_home(self) -> Path:
        made = self.home / "pods"
        if not made.exists():
            made.mkdir()
            (made / "witness").symlink_to(self.home / "witness")
        return made

    def settle(self, scheduler: Daemon, slots: Mapping[str, int] = SLOTS, *, quiet: bool = True) -> Story:
        """See :meth:`FaultyDeployment.settle`; no pod is left, either."""
        self.wait_for_no_pods()
        return super().settle(scheduler, slots, quiet=quiet)


def begin_kubernetes(home: Path, neighbour: KubernetesDeployment | None = None) -> KubernetesDeployment:
    """A migrated home with a running DAG processor and a cluster; no scheduler or API server yet."""
    made = KubernetesDeployment(home, neighbour)
    shutil.copy(HERE / "journal.py", made.dags)
    (home / "witness").mkdir()
    made.hybrid("db", "migrate")
    made.start("dag-processor")
    return made


def freeze(pid: int) -> list[psutil.Process]:
    """SIGSTOP a process, its parent and all below; what was frozen, in that order."""
    root = psutil.Process(pid).parent()
    assert root is not None
    frozen = [root, *root.children(recursive=True)]
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    return frozen


def thaw(frozen: list[psutil.Process]) -> None:
    """SIGCONT, children first: a supervisor must find its attempt awake."""
    for process in reversed(frozen):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def request_timeout(seconds: float) -> dict[str, str]:
    """The option for it."""
    return {"kube_client_request_args": json.dumps({"_request_timeout": seconds})}


def _ancestors(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
