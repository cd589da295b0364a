"""``hybrid dags test`` with an executor that only starts the command it is given, which finds a task API by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

EXECUTOR = """
import subprocess
from executors import BaseExecutor

class Popen(BaseExecutor):
    def __init__(self, parallelism=32, *, context=None):
        super().__init__(parallelism, context=context)
        self.processes = {}

    def execute_async(self, key, command, queue=None, executor_config=None):
        self.processes[key] = subprocess.Popen(command)

    def sync(self):
        for key, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[key]
                (self.success if process.returncode == 0 else self.fail)(key)

    def terminate(self):
        for key, process in self.processes.items():
            process.kill()
            process.wait()
            self.lost(key, "terminated")
"""
DAG = """
from runtime import DAG, task
import os, signal, time

with DAG("mixed", default_args={"retries": 0}):
    @task
    def here():
        return 6

    @task(executor="mine")
    def there(number, dag_run=None):
        if dag_run.conf.get("fails"):
            raise ValueError("as asked")
        if dag_run.conf.get("hangs"):
            print("hanging", flush=True)
            signal.pause()
        return {"number": number + 1, "home": os.environ["HYBRID_HOME"]}

    @task(executor="mine")
    def last(found):
        assert found["number"] == 7
        print("its home was", found["home"])

    last(there(here()))

with DAG("only_local"):
    @task
    def only():
        pass
    only()
"""
EXECUTORS = "LocalExecutor, mine:popen_executor.Popen, broken:nowhere.Executor"


class Trial:
    """The command, in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.work = folder / "work"
        (self.work / "dags").mkdir(parents=True)
        (self.work / "dags" / "mixed.py").write_text(DAG)
        (self.work / "popen_executor.py").write_text(EXECUTOR)
        self.environment = {
            **os.environ,
            "HYBRID_HOME": str(self.home),
            "HYBRID__CORE__EXECUTOR": EXECUTORS,
            "HYBRID__CORE__DAGS_FOLDER": str(self.work / "dags"),
            "HYBRID__LOGGING__BASE_LOG_FOLDER": str(self.work / "logs"),
            "HYBRID__CORE__EXECUTION_API_SERVER_URL": "http://deployment.invalid:8080/execution/v1",
            "PYTHONPATH": os.pathsep.join(path for path in (os.environ.get("PYTHONPATH"), str(self.work)) if path),
            "TMPDIR": str(self.work / "tmp"),
        }
        (self.work / "tmp").mkdir()
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli.main", "dags", "test", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self.started.append(process)
        return process

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def log(self, task_id: str) -> str:
        (found,) = self.work.glob(f"logs/dag_id=mixed/*/task_id={task_id}/attempt=1.log")
        return found.read_text()

    def left(self) -> list[Path]:
        """What the command has left behind, beside the logs."""
        found = [*self.home.rglob("*"), *(self.work / "tmp").iterdir()]
        return [path for path in found if not path.is_dir()]


@pytest.fixture
def trial(tmp_path) -> Iterator[Trial]:
    made = Trial(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def test_a_dag_on_a_custom_executor_runs_without_a_deployment(trial):
    trial.home.mkdir()
    code, out, err = trial.run("mixed")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "mixed: success"
    assert [line.split()[2:] for line in out.splitlines() if "success" in line and "try" in line] == [
        ["here", "try", "1", "LocalExecutor"],
        ["there", "try", "1", "mine"],
        ["last", "try", "1", "mine"],
    ]
    assert f"its home was {trial.home}" in trial.log("last")
    assert trial.left() == [], "tickets and the temporary database are gone"


def test_without_a_home_the_launches_get_the_temporary_folder_and_the_users_configuration(trial):
    configuration = trial.work / "hybrid.cfg"
    configuration.write_text("[scheduler]\ntask_heartbeat_sec = 3\n")
    trial.environment["HYBRID_CONFIG"] = str(configuration)
    code, _, err = trial.run("mixed")
    assert (code, err) == (0, "")
    assert f"its home was {trial.work / 'tmp'}" in trial.log("last")
    assert not trial.home.exists()
    assert trial.left() == []


def test_a_task_that_fails_there_fails_the_run(trial):
    trial.home.mkdir()
    code, out, err = trial.run("mixed", "--conf", '{"fails": true}')
    assert code == 1
    assert out.splitlines()[-1] == "mixed: failed"
    assert "ValueError: as asked" in trial.log("there")
    assert err == f"hybrid: logs are below {trial.work}/logs/dag_id=mixed\n"


def test_ctrl_c_ends_what_the_executor_started(trial, wait_until):
    trial.home.mkdir()
    process = trial.start("mixed", "--conf", '{"hangs": true}')
    wait_until(lambda: list(trial.work.glob("logs/*/*/task_id=there/*")) and "hanging" in trial.log("there"))
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "hybrid: interrupted")
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_only_the_executors_that_a_dag_names_are_started(trial):
    """A class that cannot be loaded, and one that is never asked for, do not matter to another DAG."""
    (trial.work / "popen_executor.py").write_text("raise RuntimeError('nobody asked for me')\n")
    code, out, err = trial.run("only_local")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "only_local: success"


def test_an_unusable_home_is_as_good_as_none(trial):
    """``/proc`` is a folder in which nobody can make a file."""
    trial.environment["HYBRID_HOME"] = "/proc"
    code, out, err = trial.run("mixed")
    assert (code, out.splitlines()[-1], err) == (0, "mixed: success", "")
