"""A whole deployment in a temporary home: real daemons, driven through the command line, watched through its database.

The test process is made a *subreaper* while a deployment lives: whatever a killed daemon leaves behind becomes a child
of the test, in whatever session it is, so that "no process is left" is seen and not guessed.
"""

from __future__ import annotations

import configparser
import ctypes
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
from psycopg.rows import dict_row

ROOT = Path(__file__).resolve().parents[2]
HYBRID = (sys.executable, "-m", "runtime.cli.main")
DEADLINE = 30.0
_PR_SET_CHILD_SUBREAPER = 36
DEFAULTS: dict[str, dict[str, str]] = {
    "core": {
        "executor": "LocalExecutor, heavy:LocalExecutor",
        "dags_are_paused_at_creation": "False",
        "killed_task_cleanup_time": "2",
    },
    "local_executor": {"parallelism": "4"},
    "local_executor:heavy": {"parallelism": "2"},
    "scheduler": {"shutdown_grace": "2", "job_heartbeat_sec": "0.3", "task_heartbeat_sec": "0.5"},
    "dag_processor": {"refresh_interval": "0.1"},
    "api": {"port": "0"},
    "logging": {"worker_log_server_port": "0"},
}
"""Short patience, so that a test ends soon, and any free port, for tests run in parallel; all else is as shipped."""
T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: str, seconds: float = DEADLINE, story: Callable[[], object] = lambda: ""
) -> T:
    """Return the first true value of ``condition``; fail the test after ``seconds``, with the ``story`` until then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what} {story()}"
        select.select([], [], [], 0.01)
    return value


def wait_until_moment(moment: float) -> None:
    """Return at ``moment`` of ``time.monotonic()``: for faults that strike at a random moment, never for an effect."""
    select.select([], [], [], max(0.0, moment - time.monotonic()))


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Daemon:
    """A daemon that runs in a session of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def send(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def kill_group(self) -> None:
        """SIGKILL to every process of its group at once."""
        os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Its exit code, negative for a signal. Raises ``TimeoutExpired``."""
        return self.process.wait(seconds)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end."""
        self.send(signum)
        return self.wait()


class Deployment:
    """One home. Its methods fail the test where a wait takes longer than a deadline.

    :param url: of its metadata DB on PostgreSQL; by default it is SQLite, in the home.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home = home
        self.url = url
        self.dags = home / "dags"
        self.database = home / "hybrid.db"
        self.daemons: list[Daemon] = []
        for folder in (self.dags, home / "tmp"):
            folder.mkdir(parents=True)
        self.configure({})
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}
        _be_subreaper(True)

    # -- set-up ----------------------------------------------------------------------------------------------------

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``hybrid.cfg``: ``DEFAULTS``, overlaid with ``options``."""
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict(DEFAULTS)
        if self.url is not None:
            parser.read_dict({"database": {"sql_alchemy_conn": self.url}})
        parser.read_dict(options)
        with (self.home / "hybrid.cfg").open("w") as file:
            parser.write(file)

    def write_dag(self, name: str, text: str) -> Path:
        """Put ``dags/NAME.py`` there, complete at once."""
        path = self.dags / f"{name}.py"
        partial = self.home / "tmp" / f"{name}.partial"
        partial.write_text(text)
        partial.rename(path)
        return path

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HYBRID", "PYTEST"))}
        return kept | {
            "HYBRID_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONFAULTHANDLER": "1",
        }

    # -- processes -------------------------------------------------------------------------------------------------

    def hybrid(self, *words: str, code: int = 0) -> Done:
        """Run one command to its end; fails the test unless it exits with ``code``."""
        ended = subprocess.run(
            [*HYBRID, *words],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert ended.returncode == code, f"hybrid {' '.join(words)}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return Done(ended.returncode, ended.stdout, ended.stderr)

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command prints with ``-o json``."""
        return self.hybrid(*words, "-o", "json", code=code).json

    def start(self, *words: str) -> Daemon:
        """Start ``hybrid WORDS`` and return at once."""
        log = self.home / f"{'-'.join(words)}-{len(self.daemons)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*HYBRID, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.home,
                start_new_session=True,
            )
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    def standalone(self) -> Daemon:
        """Start ``hybrid standalone`` and wait until it says that it is ready."""
        daemon = self.start("standalone")
        self.wait_for_words(daemon, "hybrid is ready")
        return daemon

    def scheduler(self) -> Daemon:
        """Start ``hybrid scheduler`` and wait until it has begun."""
        daemon = self.start("scheduler")
        self.wait_for_words(daemon, "has begun")
        return daemon

    def wait_for_words(self, daemon: Daemon, words: str) -> None:
        """Wait until the daemon has printed ``words``."""
        wait_until(lambda: words in daemon.text or daemon.process.poll() is not None, f"{words!r} in {daemon.log.name}")
        assert words in daemon.text, f"{daemon.log.name} ended with {daemon.process.poll()}:\n{daemon.text}"

    def processes(self) -> list[psutil.Process]:
        """Everything alive that came from this deployment: descendants of the test, and whoever names the home."""
        found = {process.pid: process for process in psutil.Process().children(recursive=True)}
        found |= {process.pid: process for process in psutil.process_iter() if self._names_the_home(process.pid)}
        return [process for pid, process in found.items() if pid not in self._before and _alive(process)]

    def _names_the_home(self, pid: int) -> bool:
        mark = b"HYBRID_HOME=" + os.fsencode(self.home)
        try:
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def reap(self) -> None:
        """Take leave of the dead orphans that this subreaper was given."""
        known = {daemon.pid for daemon in self.daemons}
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess, ChildProcessError):
                if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)

    def close(self) -> None:
        """End the daemons; then nothing of the deployment may be alive. What is left is killed, and fails the test."""
        try:
            for daemon in self.daemons:
                if daemon.process.poll() is None:
                    daemon.send(signal.SIGTERM)
            for daemon in self.daemons:
                with suppress(subprocess.TimeoutExpired):
                    daemon.wait(20)
            stuck = [daemon.log.name for daemon in self.daemons if daemon.process.poll() is None]
            left = self.strays()
        finally:
            self._kill_all()
            _be_subreaper(False)
            for daemon in self.daemons:
                print(f"--- {daemon.log.name}, exit code {daemon.process.returncode}\n{daemon.text}")
        assert not stuck, f"did not end within 20 s of SIGTERM: {stuck}"
        assert not left, f"processes were left behind: {left}"

    def strays(self, seconds: float = 3.0) -> list[str]:
        """What is still alive after ``seconds``, although every daemon has ended; usually nothing, and at once."""
        deadline = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > deadline:
                return [_describe(process) for process in left]
            select.select([], [], [], 0.01)
        self.reap()
        return []

    def _kill_all(self) -> None:
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            for daemon in self.daemons:
                daemon.process.poll()
            self.reap()
        for daemon in self.daemons:
            daemon.process.wait()

    # -- what is true now ------------------------------------------------------------------------------------------

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the metadata DB; none where there is no such table yet. ``?`` stands for a value."""
        if self.url is not None:
            return _query_postgresql(self.url, sql.replace("?", "%s"), values)
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(sql, values)]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the DAG processor has stored the DAG."""
        wait_until(lambda: self.query("SELECT 1 FROM dag WHERE dag_id = ? AND is_active", dag_id), f"DAG {dag_id}")

    def trigger(self, dag_id: str, *words: str) -> str:
        """Wait for the DAG, trigger it through the command line, return the run id."""
        self.wait_for_dag(dag_id)
        return str(self.json("dags", "trigger", dag_id, *words)["run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        rows = self.query("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        return str(rows[0]["state"]) if rows else "absent"

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = DEADLINE) -> str:
        """Wait for the run's end; ``success`` or ``failed``."""
        wait_until(
            lambda: self.run_state(dag_id, run_id) in ("success", "failed"),
            f"the end of {dag_id} {run_id}",
            seconds,
            story=lambda: self.task_states(run_id),
        )
        return self.run_state(dag_id, run_id)

    def run_to_end(self, dag_id: str, *words: str) -> str:
        """Trigger a run, wait for its end, expect success; its run id."""
        run_id = self.trigger(dag_id, *words)
        assert self.wait_for_run(dag_id, run_id) == "success", self.states(dag_id, run_id)
        return run_id

    def task_states(self, run_id: str) -> dict[str, str]:
        """Task → state, from the DB."""
        rows = self.query(
            "SELECT task_id, t.state FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id WHERE run_id = ?",
            run_id,
        )
        return {row["task_id"]: row["state"] for row in rows}

    def wait_for_task(self, run_id: str, task_id: str, state: str, seconds: float = DEADLINE) -> None:
        wait_until(lambda: self.task_states(run_id).get(task_id) == state, f"{task_id} {state} in {run_id}", seconds)

    def states(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Task → its record as ``tasks states-for-dag-run`` prints it."""
        return {record["task_id"]: record for record in self.json("tasks", "states-for-dag-run", dag_id, run_id)}

    def attempts(self, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """The attempts of one task, oldest first."""
        return self.query(
            "SELECT a.* FROM task_attempt a JOIN task_instance t ON t.id = a.task_instance_id"
            " JOIN dag_run r ON r.id = t.dag_run_id WHERE r.run_id = ? AND t.task_id = ? ORDER BY a.id",
            run_id,
            task_id,
        )

    def xcom(self, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """The stored value. Raises ``IndexError`` where there is none."""
        rows = self.query(
            "SELECT value FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id"
            " WHERE run_id = ? AND task_id = ? AND key = ?",
            run_id,
            task_id,
            key,
        )
        return json.loads(rows[0]["value"])


def _query_postgresql(url: str, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), row_factory=dict_row) as connection:
        try:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []
        except psycopg.errors.UndefinedTable:
            return []


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} (parent {process.ppid()}): {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return f"{process.pid}"


def _be_subreaper(on: bool) -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")
