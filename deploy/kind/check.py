"""``make kind-test``: the deployment in the kind cluster runs a DAG half on Local, half in pods, and is looked at.

Needs ``kubectl`` and Python alone; changes nothing but two more runs. Exit code 0 when all was as it should be.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

CONTEXT = f"kind-{os.environ.get('CLUSTER') or 'hybrid'}"
NAMESPACE, TASKS = "hybrid", "hybrid-tasks"
SCHEDULER = f"system:serviceaccount:{NAMESPACE}:scheduler"
DAG, CLOSED = "halves", "closed"
DAEMONS = ("api-server", "scheduler", "dag-processor")
EXECUTORS = ("LocalExecutor", "k8s")
PATIENCE = 120.0
MAY = (
    ("create", "pods", "", TASKS),
    ("get", "pods", "", TASKS),
    ("list", "pods", "", TASKS),
    ("watch", "pods", "", TASKS),
    ("patch", "pods", "", TASKS),
    ("delete", "pods", "", TASKS),
    ("get", "pods", "log", TASKS),
)
"""Verb, resource, subresource, namespace."""
MAY_NOT = (
    ("create", "pods", "", NAMESPACE),
    ("list", "pods", "", "default"),
    ("create", "pods", "exec", TASKS),
    ("get", "secrets", "", NAMESPACE),
    ("get", "secrets", "", TASKS),
)


class ClusterError(Exception):
    """What went wrong, for the terminal."""


def main() -> int:
    run = f"kind-test-{int(time.time())}"
    try:
        tasks = run_dag(DAG, run)
        show(tasks)
        problems = [problem for check in CHECKS for problem in named(check, run, tasks)]
    except ClusterError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    print("kind-test:", f"{len(problems)} problems" if problems else "all as it should be")
    return 1 if problems else 0


def kubectl(*words: str) -> str:
    """What it printed on stdout. Raises :class:`ClusterError`."""
    command = ["kubectl", "--context", CONTEXT, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ClusterError(f"{shlex.join(command)}: exit code {done.returncode}\n{lines}")
    return done.stdout


def hybrid(*words: str) -> str:
    """Run it in the scheduler's pod. Raises :class:`ClusterError`."""
    return kubectl("-n", NAMESPACE, "exec", "deployment/scheduler", "-c", "scheduler", "--", "hybrid", *words)


def items(kind: str, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]
    return found


def run_dag(dag: str, run: str) -> list[dict[str, Any]]:
    """Wait for the DAG, trigger it, wait for the run's end; its task instances. Raises :class:`ClusterError`."""
    deadline = time.monotonic() + PATIENCE
    while dag not in hybrid("dags", "list", "-o", "json"):
        if time.monotonic() > deadline:
            raise ClusterError(f"DAG {dag} is not there after {PATIENCE:g} s; was it in $DAGS of kind-up?")
        time.sleep(0.5)
    hybrid("dags", "trigger", dag, "--run-id", run, "--wait")
    tasks: list[dict[str, Any]] = json.loads(hybrid("tasks", "states-for-dag-run", dag, run, "-o", "json"))
    return tasks


def show(tasks: list[dict[str, Any]]) -> None:
    print(f"\n{'task':<18}{'state':<10}{'executor':<16}{'host':<50}{'seconds':>8}")
    for row in tasks:
        where = f"{row['executor'] or '':<16}{row['hostname'] or '':<50}"
        print(f"{row['task_id']:<18}{row['state'] or '':<10}{where}{row['duration'] or 0:>8.2f}")
    print()


Check = Callable[[str, list[dict[str, Any]]], Iterator[str]]


def named(check: Check, run: str, tasks: list[dict[str, Any]]) -> list[str]:
    """The check's problems, after a line that says how it went."""
    problems = list(check(run, tasks))
    print(f"{'FAILED' if problems else 'ok':<7}{check.__doc__}")
    return problems


def places(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """every task succeeded, half of them in pods of their own"""
    for row in tasks:
        pod = f"{TASKS}/{row['hostname']}"
        if row["state"] != "success" or (row["executor"] == "k8s") != (row["external_executor_id"] == pod):
            yield f"{row['task_id']}: {row['state']}, {row['executor']}, {row['external_executor_id']}, on {pod}"
    counts = {name: sum(row["executor"] == name for row in tasks) for name in EXECUTORS}
    if len(set(counts.values())) != 1 or not tasks:
        yield f"no halves: {counts}"


def logs(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """the logs of both halves can be read by the command line"""
    for task_id in ("compare", "compare_there"):
        text = hybrid("tasks", "logs", DAG, run, task_id)
        if "sums: 14 14" not in text:
            yield f"log of {task_id}: {text[-500:]!r}"


def closed(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """a task gets neither at the database nor at Kubernetes"""
    try:
        run_dag(CLOSED, run)
    except ClusterError as error:
        yield f"{error}\n{hybrid('tasks', 'logs', CLOSED, run, 'try_all')}"


def leftovers(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """no pod is left behind"""
    deadline = time.monotonic() + PATIENCE
    while left := [pod["metadata"]["name"] for pod in items("pods", TASKS)]:
        if time.monotonic() > deadline:
            yield f"pods after {PATIENCE:g} s: {left}"
            return
        time.sleep(0.5)


def access(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """the scheduler may look after task pods, and may do nothing else"""
    for expected, wanted in ((True, MAY), (False, MAY_NOT)):
        for verb, resource, subresource, namespace in wanted:
            if scheduler_may(verb, resource, subresource, namespace) != expected:
                answer = "may not" if expected else "may"
                yield f"the scheduler {answer} {verb} {resource} {subresource} in {namespace}"


def scheduler_may(verb: str, resource: str, subresource: str, namespace: str) -> bool:
    # A no is an exit code of 1; and `pods/exec` would be a pod of that name.
    words = ("auth", "can-i", verb, resource, "--subresource", subresource, "-n", namespace, "--as", SCHEDULER)
    done = subprocess.run(["kubectl", "--context", CONTEXT, *words], capture_output=True, text=True, check=False)
    if done.stdout.strip() not in {"yes", "no"}:
        raise ClusterError(f"kubectl {shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout.strip() == "yes"


def health(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """every daemon and every executor is healthy, and nothing was restarted"""
    for daemon in DAEMONS:
        words = ("-c", daemon, "--", "python", "/opt/hybrid/healthy.py", daemon)
        kubectl("-n", NAMESPACE, "exec", f"deployment/{daemon}", *words)
    for row in json.loads(hybrid("executors", "list", "-o", "json")):
        if row["health"] != "healthy":
            yield f"{row['name']} is {row['health']}: {row['reason']}"
    for pod in items("pods", NAMESPACE):
        for container in pod["status"].get("containerStatuses", ()):
            if container["restartCount"]:
                yield f"{pod['metadata']['name']} was restarted {container['restartCount']} times"


def quiet_about_secrets(run: str, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """no log of a daemon or of a task, and no argument list, has a secret in it"""
    secret = json.loads(kubectl("-n", NAMESPACE, "get", "secret", "hybrid", "-o", "json"))["data"]
    wanted = {name: base64.b64decode(value).decode() for name, value in secret.items()}
    sources = {f"the log of {name}": kubectl("-n", NAMESPACE, "logs", f"deployment/{name}") for name in DAEMONS}
    for place, script in (
        ("the tasks' logs", "cat $(find /var/lib/hybrid/logs -type f)"),
        ("the arguments in the scheduler's pod", "cat /proc/[0-9]*/cmdline"),
    ):
        words = ("exec", "deployment/scheduler", "-c", "scheduler", "--", "sh", "-c", script)
        sources[place] = kubectl("-n", NAMESPACE, *words)
    for place, text in sources.items():
        yield from (f"{name} is in {place}" for name, value in wanted.items() if value in text)


CHECKS: tuple[Check, ...] = (places, logs, closed, leftovers, access, health, quiet_about_secrets)


if __name__ == "__main__":
    sys.exit(main())
