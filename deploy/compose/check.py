"""``make compose-test``: the deployment, made anew, runs a DAG half on Local, half on Celery; then it is taken down.

It is a project of its own, ``hybrid-test``, with volumes of its own and any free port: what is running already is left
alone. Exit code 0 when all was as it should be.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from env_file import values_in
from project import ENDS, ENV_FILE, ROOT, Project, ProjectError

DAG = "halves"
EXECUTORS = {"LocalExecutor": "scheduler", "CeleryExecutor": "worker"}
"""Executor → the service in whose container its tasks run."""
NOT_FOR_WORKERS = ("HYBRID__DATABASE__SQL_ALCHEMY_CONN", "HYBRID__API_AUTH__JWT_SECRET", "HYBRID__CORE__FERNET_KEY")
SECRETS_OF_OTHERS = ("POSTGRES_PASSWORD", "HYBRID_JWT_SECRET", "HYBRID_FERNET_KEY")
"""In ``deploy/.env``; no variable of a worker may hold one, whatever it is called."""
PATIENCE = 60.0


def main() -> int:
    project = Project(
        "hybrid-test",
        COMPOSE_PROJECT_NAME="hybrid-test",
        HYBRID_API_PORT="0",
        HYBRID_DAGS_FOLDER=str(ROOT / "deploy/compose/dags"),
        HYBRID_DAGS_ARE_PAUSED_AT_CREATION="False",
        HYBRID_EXECUTOR=", ".join(EXECUTORS),
    )
    try:
        project.compose("down", "-v")
        project.compose("build", "image")
        began = time.monotonic()
        project.compose("up", "-d")
        project.wait_until_healthy()
        print(f"all healthy after {time.monotonic() - began:.0f} s")
        tasks = run_dag(project)
        show(tasks)
        problems = [problem for check in CHECKS for problem in named(check, project, tasks)]
    except ProjectError as error:
        problems = [str(error)]
    finally:
        project.compose("down", "-v")
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    print("compose-test:", f"{len(problems)} problems" if problems else "all as it should be")
    return 1 if problems else 0


def run_dag(project: Project) -> list[dict[str, Any]]:
    """Trigger it, wait for its end, and return its task instances. Raises :class:`ProjectError`."""
    deadline = time.monotonic() + PATIENCE
    while DAG not in project.run_in("scheduler", "hybrid", "dags", "list", "-o", "json"):
        if time.monotonic() > deadline:
            raise ProjectError(f"DAG {DAG} is not there after {PATIENCE:g} s")
        time.sleep(0.5)
    run = "compose-test"
    project.run_in("scheduler", "hybrid", "dags", "trigger", DAG, "--run-id", run, "--wait")
    tasks: list[dict[str, Any]] = json.loads(
        project.run_in("scheduler", "hybrid", "tasks", "states-for-dag-run", DAG, run, "-o", "json")
    )
    return tasks


def show(tasks: list[dict[str, Any]]) -> None:
    print(f"\n{'task':<18}{'state':<10}{'executor':<16}{'host':<14}{'seconds':>8}")
    for row in tasks:
        where = f"{row['executor'] or '':<16}{row['hostname'] or '':<14}"
        print(f"{row['task_id']:<18}{row['state'] or '':<10}{where}{row['duration'] or 0:>8.2f}")
    print()


Check = Callable[[Project, list[dict[str, Any]]], Iterator[str]]


def named(check: Check, project: Project, tasks: list[dict[str, Any]]) -> list[str]:
    """The check's problems, after a line that says how it went."""
    problems = list(check(project, tasks))
    print(f"{'FAILED' if problems else 'ok':<7}{check.__doc__}")
    return problems


def places(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """every task succeeded, half of them on each executor, in the container that is meant for it"""
    containers = project.containers()
    hosts = {name: containers[service]["Config"]["Hostname"] for name, service in EXECUTORS.items()}
    for row in tasks:
        if row["state"] != "success" or row["hostname"] != hosts.get(row["executor"]):
            yield f"{row['task_id']}: {row['state']}, {row['executor']}, on {row['hostname']}; hosts are {hosts}"
    counts = {name: sum(row["executor"] == name for row in tasks) for name in EXECUTORS}
    if len(set(counts.values())) != 1 or not tasks:
        yield f"no halves: {counts}"


def logs(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """the logs of both halves can be read by the command line"""
    for task_id in ("compare", "compare_there"):
        text = project.run_in("scheduler", "hybrid", "tasks", "logs", DAG, "compose-test", task_id)
        if "sums: 14 14" not in text:
            yield f"log of {task_id}: {text[-500:]!r}"


def worker_secrets(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """the worker has neither database URL nor signing key, and no way to the database"""
    containers = project.containers()
    configured = values_in(ENV_FILE.read_text().splitlines())
    for entry in containers["worker"]["Config"]["Env"]:
        name, _, value = entry.partition("=")
        if name in NOT_FOR_WORKERS or any(configured[secret] in value for secret in SECRETS_OF_OTHERS):
            yield f"the worker has {name}"
    probe = "import socket; socket.create_connection(('postgres', 5432), 2)"
    address = containers["postgres"]["NetworkSettings"]["Networks"]["hybrid-test_database"]["IPAddress"]
    for place in ("postgres", address):
        try:
            project.run_in("worker", "python", "-c", probe.replace("postgres", place))
            yield f"the worker reaches {place}:5432"
        except ProjectError:
            continue


def confinement(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """no container runs as root, has a capability, can gain one, or writes to its image; only the API has a port"""
    for service, found in project.containers().items():
        host = found["HostConfig"]
        if found["Config"]["User"].partition(":")[0] in {"", "0", "root"}:
            yield f"{service} runs as root"
        if host["CapDrop"] != ["ALL"] or host["CapAdd"] or host["Privileged"]:
            yield f"{service} has capabilities"
        if "no-new-privileges:true" not in (host["SecurityOpt"] or []):
            yield f"{service} may gain privileges"
        if not host["ReadonlyRootfs"]:
            yield f"{service} may write to its image"
        published = [port for port, places in (found["NetworkSettings"]["Ports"] or {}).items() if places]
        if published != (["8080/tcp"] if service == "api-server" else []):
            yield f"{service} publishes {published}"


def health(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """the API server answers on its published port, and calls everything healthy"""
    (published,) = project.containers()["api-server"]["NetworkSettings"]["Ports"]["8080/tcp"]
    if published["HostIp"] != "127.0.0.1":
        yield f"published on {published['HostIp']}"
    connection = http.client.HTTPConnection("127.0.0.1", int(published["HostPort"]), timeout=10)
    connection.request("GET", "/api/v2/monitor/health")
    said = json.load(connection.getresponse())
    connection.close()
    parts = ("metadatabase", "scheduler", "dag_processor", "api_server")
    unwell = {name: said[name]["status"] for name in parts if said[name]["status"] != "healthy"}
    unwell |= {name: status for name, status in said["executors"].items() if status != "healthy"}
    if unwell or set(said["executors"]) != set(EXECUTORS):
        yield f"health: {said}"


def quiet_about_secrets(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """no log of a container or of a task, and no argument list, has a secret in it"""
    configured = values_in(ENV_FILE.read_text().splitlines())
    wanted = {name: value for name, value in configured.items() if name.endswith(("_PASSWORD", "_SECRET"))}
    sources = {"the containers' logs": project.compose("logs", quiet=True)}
    sources["the tasks' logs"] = project.run_in("scheduler", "sh", "-c", "cat $(find /var/lib/hybrid/logs -type f)")
    for service in set(project.containers()) - ENDS:
        # Their processes, as the host's `ps` shows them.
        sources[f"the arguments in {service}"] = project.run_in(service, "sh", "-c", "cat /proc/[0-9]*/cmdline")
    for place, text in sources.items():
        yield from (f"{name} is in {place}" for name, value in wanted.items() if value in text)


def stopping(project: Project, tasks: list[dict[str, Any]]) -> Iterator[str]:
    """all of it ends by itself when it is told to"""
    project.compose("stop")
    for service, found in project.containers().items():
        state = found["State"]
        if state["Running"] or state["OOMKilled"] or state["ExitCode"] != 0:
            yield f"{service} ended with exit code {state['ExitCode']}"


CHECKS: tuple[Check, ...] = (places, logs, worker_secrets, confinement, health, quiet_about_secrets, stopping)


if __name__ == "__main__":
    sys.exit(main())
