"""``hybrid standalone`` as a process: ready, stopped, and a daemon that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

DEADLINE = 30.0
ENDS = """
from runtime import DAG, task

with DAG("ends"):
    @task
    def end(dag_run=None):
        word = dag_run.conf.get("word", "badly")
        assert word == "well", f"{word} it ends"
    end()
"""


class Standalone:
    """The running command and what it has printed."""

    def __init__(self, env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli.main", "standalone"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"HYBRID__API__PORT": "0", **env},
            text=True,
        )
        self.output = ""

    def read_until(self, text: str) -> str:
        """Read lines until one has ``text``; fails where the output ends before."""
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came: {self.output}")

    def daemons(self) -> dict[str, psutil.Process]:
        """The children by what they are, once all have said so."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            found = {}
            for child in psutil.Process(self.process.pid).children():
                name = re.fullmatch(r"hybrid ([\w-]+).*", " ".join(child.cmdline()))
                if name:
                    found[name[1]] = child
            if set(found) >= {"scheduler", "dag-processor", "api-server"}:
                return found
        raise AssertionError("the daemons did not appear")

    def end(self) -> int:
        """Wait for the end; the exit code."""
        self.output += self.process.communicate(timeout=DEADLINE)[0]
        return self.process.returncode


@pytest.fixture
def standalone(tmp_path) -> Iterator[Standalone]:
    running = Standalone({**os.environ, "HYBRID_HOME": str(tmp_path / "new" / "home")})
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()
    running.process.stdout.close()


def test_fresh_home_gets_ready_and_says_where_things_are(standalone, tmp_path):
    standalone.read_until("hybrid is ready")
    standalone.read_until("trigger DAG --wait")
    home = tmp_path / "new" / "home"
    for path in (home, home / "hybrid.cfg", home / "dags", home / "logs", home / "hybrid.db"):
        assert str(path) in standalone.output
        assert path.exists()
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"{path} is open to others"
    standalone.process.terminate()
    assert standalone.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_with_exit_0(standalone, number):
    standalone.read_until("hybrid is ready")
    family = psutil.Process(standalone.process.pid).children(recursive=True)
    standalone.process.send_signal(number)
    assert standalone.end() == 0
    assert "hybrid: stopping" in standalone.output
    _, alive = psutil.wait_procs(family, timeout=DEADLINE)
    assert not alive


@pytest.mark.parametrize("victim", ["scheduler", "dag-processor", "api-server"])
def test_a_daemon_that_dies_is_named_and_ends_the_rest_with_exit_1(standalone, victim):
    standalone.read_until("hybrid is ready")
    daemons = standalone.daemons()
    daemons[victim].kill()
    assert standalone.end() == 1
    assert f"hybrid: {victim} was ended by SIGKILL; stopping the rest" in standalone.output
    _, alive = psutil.wait_procs(list(daemons.values()), timeout=DEADLINE)
    assert not alive


def test_daemons_do_not_outlive_a_killed_parent(standalone):
    standalone.read_until("hybrid is ready")
    daemons = standalone.daemons()
    standalone.process.kill()
    _, alive = psutil.wait_procs(list(daemons.values()), timeout=DEADLINE)
    assert not alive


def test_trigger_wait_exits_by_how_the_run_ended(standalone, tmp_path):
    """From a file saved in the folder to an exit code, by commands alone."""
    standalone.read_until("hybrid is ready")
    env = {**os.environ, "HYBRID_HOME": str(tmp_path / "new" / "home")}
    (tmp_path / "new" / "home" / "dags" / "ends.py").write_text(ENDS)
    standalone.read_until("ends.py: ends")

    def hybrid(*words):
        command = [sys.executable, "-m", "runtime.cli.main", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)

    assert hybrid("dags", "unpause", "ends").returncode == 0
    well = hybrid("dags", "trigger", "ends", "--wait", "--conf", '{"word": "well"}', "-o", "json")
    badly = hybrid("dags", "trigger", "ends", "--wait", "--run-id", "bad", "-o", "json")
    assert (well.returncode, json.loads(well.stdout)["state"], well.stderr) == (0, "success", "")
    assert (badly.returncode, json.loads(badly.stdout)["state"], badly.stderr) == (1, "failed", "")
    assert "badly it ends" in hybrid("tasks", "logs", "ends", "bad", "end").stdout
    (row,) = json.loads(hybrid("executors", "list", "-o", "json").stdout)
    assert row["health"] == "healthy"


def test_second_start_keeps_the_configuration(tmp_path):
    env = {**os.environ, "HYBRID_HOME": str(tmp_path)}
    (tmp_path / "hybrid.cfg").write_text("[core]\nexecutor = mine:LocalExecutor\n")
    running = Standalone(env)
    running.read_until("hybrid is ready")
    running.read_until("executors  mine:LocalExecutor")
    running.process.terminate()
    assert running.end() == 0
    assert (tmp_path / "hybrid.cfg").read_text() == "[core]\nexecutor = mine:LocalExecutor\n"


def test_file_that_is_no_database_is_named_and_nothing_starts(tmp_path):
    (tmp_path / "hybrid.db").write_text("no database at all, but long enough to look like a file of one\n" * 40)
    running = Standalone({**os.environ, "HYBRID_HOME": str(tmp_path)})
    assert running.end() == 1
    assert "migrate       | hybrid: the metadata DB cannot be read: file is not a database" in running.output
    assert "hybrid: the metadata DB could not be migrated; the line above says why" in running.output
