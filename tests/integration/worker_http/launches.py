"""Real ``hybrid tasks run`` processes against a real database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from runtime.core.specs import TaskSpec
from runtime.core.task_api import TICKET_VARIABLE
from runtime.db.schema import task_instance, xcom
from runtime.tokens.tokens import Tokens
from tests.database.builders import World, task
from tests.integration.worker_http.faulty_api import FaultyApi, eventually

DEADLINE = 40.0
ROOT = Path(__file__).parents[3]
MAIN = "import sys; from runtime.cli.main import main; sys.exit(main())"


class Office:
    """A database with attempts of the tasks of ``tasks_over_http.py``, an API in front of it, and launches."""

    def __init__(self, world: World, api: FaultyApi, tokens: Tokens, folder: Path) -> None:
        self.world, self.api, self.tokens = world, api, tokens
        self.home, self.notes = folder / "worker_home", folder / "notes"
        for made in (self.home / "dags", self.notes):
            made.mkdir(parents=True)
        self.settings: dict[str, str] = {}
        self.launches: list[Launched] = []
        self._count = 0

    def attempt(self, task_id: str, *others: TaskSpec, **options: Any) -> str:
        """Queue an attempt of the task, in a run of its own with these ``others``; its id."""
        self._count += 1
        dag_id = f"d{self._count}"
        (self.home / "dags" / f"{dag_id}.py").symlink_to(Path(__file__).with_name("tasks_over_http.py"))
        run = self.world.begin(task(task_id, **options), *others, dag_id=dag_id)
        return self.world.queue(next(iter(run.instances.values())))

    def ticket(self, attempt_id: str, seconds: float = 600.0) -> str:
        return self.tokens.start_ticket(attempt_id, seconds)

    def launch(
        self,
        attempt_id: str,
        *,
        ticket: str | None = None,
        code: str = MAIN,
        deaf: bool = False,
        out: int | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        **settings: str,
    ) -> Launched:
        """Start the process.

        :param ticket: empty: none.
        :param deaf: nobody reads its stderr.
        :param out: its stdout, instead of a file.
        :param settings: ``section__option="value"``.
        """
        chosen = {
            "core__execution_api_server_url": self.api.url,
            "scheduler__task_heartbeat_sec": "0.2",
            "workers__execution_api_timeout": "1",
            **settings,
        }
        variables = {name: value for name, value in os.environ.items() if not name.startswith("HYBRID")}
        variables |= environment
        variables |= {f"HYBRID__{name.upper()}": value for name, value in chosen.items()}
        variables |= {
            "HYBRID_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "NOTES": str(self.notes),
        }
        ticket = self.ticket(attempt_id) if ticket is None else ticket
        if ticket:
            variables[TICKET_VARIABLE] = ticket
        folder = self.notes.parent / f"launch{len(self.launches)}"
        folder.mkdir()
        self.launches.append(Launched(attempt_id, variables, code, folder, deaf=deaf, out=out))
        return self.launches[-1]

    def run(self, attempt_id: str, **options: Any) -> int:
        """Launch and wait for the end; the exit code."""
        return self.launch(attempt_id, **options).wait()

    # -- what came of it

    def row(self, attempt_id: str) -> Row[Any]:
        return self.world.attempt(attempt_id)

    def state(self, attempt_id: str) -> str:
        """Of its task instance."""
        identifier = self.row(attempt_id).task_instance_id
        return str(self.world.row(task_instance, task_instance.c.id == identifier).state)

    def xcoms(self) -> dict[str, Any]:
        return {row.key: json.loads(row.value) for row in self.world.rows(xcom)}

    def log(self) -> str:
        """Of the only attempt."""
        (found,) = self.home.glob("logs/**/attempt=*.log")
        return found.read_text()

    def noted(self, name: str) -> list[str]:
        """Lines that tasks have left."""
        file = self.notes / name
        return file.read_text().split() if file.exists() else []

    def wait_note(self, name: str) -> list[str]:
        eventually(lambda: bool(self.noted(name)))
        return self.noted(name)

    def close(self) -> None:
        for launched in self.launches:
            launched.close()


class Launched:
    """One process of ``hybrid tasks run``."""

    def __init__(
        self,
        attempt_id: str,
        environment: dict[str, str],
        code: str,
        folder: Path,
        *,
        deaf: bool = False,
        out: int | None = None,
    ) -> None:
        self.attempt_id = attempt_id
        self._out, self._err = folder / "stdout", folder / "stderr"
        argv = [sys.executable, "-c", code, "tasks", "run", attempt_id]
        with self._out.open("wb") as file, self._err.open("wb") as err:
            stdout, stderr = file if out is None else out, subprocess.PIPE if deaf else err
            streams = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
            self.process = subprocess.Popen(argv, env=environment, **streams)
        if self.process.stderr is not None:
            self.process.stderr.close()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has said on stderr so far."""
        return self._err.read_text()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, seconds: float = DEADLINE) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)

    def wait_line(self, text: str) -> None:
        """Until it has said something with ``text`` on stderr."""
        eventually(lambda: text in self.err)

    def outlive(self, seconds: float) -> None:
        """It must not end for so long."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"ended with {self.process.returncode}: {self.err}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def child(self) -> int:
        """The attempt's process."""
        eventually(lambda: bool(children(self.pid)))
        return children(self.pid)[0]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"
