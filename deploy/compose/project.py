"""One project of ``deploy/docker-compose.yml``, driven by the commands that a person would use; needs Python alone."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = shlex.split(os.environ.get("DOCKER_COMPOSE") or "docker compose")
FILES = ["-f", str(ROOT / "deploy/docker-compose.yml"), "--env-file", str(ROOT / "deploy/.env")]
ENDS = frozenset({"migrate"})
"""Services that do their work and end."""
PATIENCE = 180.0


class ProjectError(Exception):
    """What went wrong, for the terminal."""


class Project:
    """:param name: of the project; default: what ``deploy/.env`` says.

    :param variables: what the compose file reads, before what ``deploy/.env`` says.
    """

    def __init__(self, name: str | None = None, **variables: str) -> None:
        self._command = [*COMPOSE, *FILES, *(["-p", name] if name else [])]
        self._environment = os.environ | variables

    def compose(self, *words: str, quiet: bool = False) -> str:
        """Run one Compose command and return what it printed. Raises :class:`ProjectError`."""
        if not quiet:
            print("$", shlex.join([*COMPOSE, "…", *words]), flush=True)
        return self._run([*self._command, *words])

    def container(self, service: str) -> dict[str, Any]:
        """What the engine tells of the service's container, running or not. Raises :class:`ProjectError`."""
        found = self._run([*self._command, "ps", "-a", "-q", service]).split()
        if not found:
            raise ProjectError(f"{service} has no container")
        inspected: list[dict[str, Any]] = json.loads(self._run(["docker", "inspect", found[0]]))
        return inspected[0]

    def run_in(self, service: str, *words: str) -> str:
        """Run a command in the service's container; what it printed on stdout. Raises :class:`ProjectError`."""
        return self._run(["docker", "exec", self.container(service)["Id"], *words])

    def services(self) -> list[str]:
        return self._run([*self._command, "config", "--services"]).split()

    def wait_until_healthy(self) -> None:
        """Until every daemon's health check passed. Raises :class:`ProjectError` that says which one's did not."""
        daemons = [service for service in self.services() if service not in ENDS]
        deadline = time.monotonic() + PATIENCE
        while waiting := {name: status for name in daemons if (status := self._status(name)) != "healthy"}:
            if time.monotonic() > deadline or "exited" in waiting.values():
                named = ", ".join(f"{name} is {status}" for name, status in waiting.items())
                raise ProjectError(f"not up: {named}\n{self.compose('logs', '--tail', '20', *waiting, quiet=True)}")
            time.sleep(0.5)

    def _status(self, service: str) -> str:
        state = self.container(service)["State"]
        health = state.get("Health") or {"Status": state["Status"]}
        return str(health["Status"] if state["Running"] else state["Status"])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise ProjectError(f"{shlex.join(command)}: exit code {done.returncode}\n{lines}")
        return done.stdout


def main() -> int:
    """``make compose-up``'s last step: wait until the deployment is up, and say where; 0, or 1 when it is not."""
    project = Project()
    try:
        project.wait_until_healthy()
        (published,) = project.container("api-server")["NetworkSettings"]["Ports"]["8080/tcp"]
    except ProjectError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"up: http://{published['HostIp']}:{published['HostPort']}/api/v2/monitor/health")
    print(f"commands: {shlex.join([*COMPOSE, '-f', 'deploy/docker-compose.yml', 'exec', 'scheduler'])} hybrid …")
    return 0


if __name__ == "__main__":
    sys.exit(main())
