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

from env_file import values_in

ROOT = Path(__file__).resolve().parents[2]
ENV_FILE = ROOT / "deploy/.env"
COMPOSE = shlex.split(os.environ.get("DOCKER_COMPOSE") or "docker compose")
FILES = ("-f", str(ROOT / "deploy/docker-compose.yml"), "--env-file", str(ENV_FILE))
ENDS = frozenset({"migrate"})
"""Services that do their work and end."""
PATIENCE = 180.0


class ProjectError(Exception):
    """What went wrong, for the terminal."""


class Project:
    """:param name: of the project.

    :param variables: what the compose file reads, before what ``deploy/.env`` says.
    """

    def __init__(self, name: str, **variables: str) -> None:
        self.name = name
        self._environment = os.environ | variables

    def compose(self, *words: str, quiet: bool = False) -> str:
        """Run one Compose command and return what it printed. Raises :class:`ProjectError`."""
        if not quiet:
            print("$", shlex.join([*COMPOSE, "-p", self.name]), "…", shlex.join(words), flush=True)
        return self._run([*COMPOSE, *FILES, "-p", self.name, *words])

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine tells of each service's container, running or not; of one of them where there are several.

        Raises :class:`ProjectError`.
        """
        # Not by Compose's own `ps`, which in version 1 takes a second of CPU time.
        labels = (f"com.docker.compose.project={self.name}", "com.docker.compose.oneoff=False")
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        found = self._run(["docker", "ps", "-a", "-q", *filters]).split()
        if not found:
            raise ProjectError(f"project {self.name} has no containers")
        inspected = json.loads(self._run(["docker", "inspect", *found]))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in inspected}

    def run_in(self, service: str, *words: str) -> str:
        """Run a command in the service's container; what it printed on stdout. Raises :class:`ProjectError`."""
        return self._run(["docker", "exec", self.containers()[service]["Id"], *words])

    def wait_until_healthy(self) -> None:
        """Until every daemon's health check passed. Raises :class:`ProjectError` that says which one's did not."""
        deadline = time.monotonic() + PATIENCE
        while waiting := self._unhealthy():
            if time.monotonic() > deadline or "exited" in waiting.values():
                named = ", ".join(f"{name} is {status}" for name, status in waiting.items())
                raise ProjectError(f"not up: {named}\n{self.compose('logs', '--tail', '20', *waiting, quiet=True)}")
            time.sleep(0.5)

    def _unhealthy(self) -> dict[str, str]:
        states = {name: found["State"] for name, found in self.containers().items() if name not in ENDS}
        statuses = {name: _status(state) for name, state in states.items()}
        return {name: status for name, status in statuses.items() if status != "healthy"}

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise ProjectError(f"{shlex.join(command)}: exit code {done.returncode}\n{lines}")
        return done.stdout


def _status(state: dict[str, Any]) -> str:
    return str(state["Health"]["Status"] if state["Running"] else state["Status"])


def main() -> int:
    """``make compose-up``'s last step: wait until the deployment is up, and say where; 0, or 1 when it is not."""
    configured = values_in(ENV_FILE.read_text().splitlines())
    project = Project(os.environ.get("COMPOSE_PROJECT_NAME") or configured["COMPOSE_PROJECT_NAME"])
    try:
        project.wait_until_healthy()
        (published,) = project.containers()["api-server"]["NetworkSettings"]["Ports"]["8080/tcp"]
    except ProjectError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"up: http://{published['HostIp']}:{published['HostPort']}/api/v2/monitor/health")
    print(f"commands: {shlex.join([*COMPOSE, '-f', 'deploy/docker-compose.yml', 'exec', 'scheduler'])} hybrid …")
    return 0


if __name__ == "__main__":
    sys.exit(main())
