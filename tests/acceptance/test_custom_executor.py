"""The executor of ``docs/executors.md``, as written there, in a real deployment beside LocalExecutor."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from deployment import ROOT, Deployment, wait_until

from executors.testing.resources import is_alive

EXECUTORS = "LocalExecutor, mine:tutorial.MyExecutor, heavy:tutorial.MyExecutor"
CLASSES = {"LocalExecutor": "LocalExecutor", "mine": "MyExecutor", "heavy": "MyExecutor"}
HYBRID = f"""#!{sys.executable}
import sys
from runtime.cli.main import main
sys.exit(main())
"""
DAG = """
import os, signal, subprocess, sys, time
from runtime import DAG, task

NOTES = {notes!r}

def wait(name):
    child = subprocess.Popen(["/bin/sleep", "600"])
    with open(f"{{NOTES}}/.{{name}}", "w") as file:
        file.write(f"{{os.getpid()}} {{child.pid}}")
    os.rename(f"{{NOTES}}/.{{name}}", f"{{NOTES}}/{{name}}")
    while not os.path.exists(f"{{NOTES}}/go"):
        time.sleep(0.01)
    child.kill()
    child.wait()

with DAG("mixed", default_args={{"executor": "mine"}}):
    @task(executor="LocalExecutor")
    def here(): return 20

    @task
    def there(number): print("there got", number); return number + 1

    @task
    def flooding():
        for _ in range(2000):
            print("x" * 1000)

    @task(retries=1, retry_delay=0.1)
    def second_try(ti=None):
        if ti.try_number == 1:
            raise ValueError("not at once")
        return ti.try_number

    there(here()) >> flooding() >> second_try()

with DAG("failing", default_args={{"executor": "mine"}}):
    @task
    def raising(): raise ValueError("on purpose")
    @task
    def killed(): os.kill(os.getpid(), signal.SIGKILL)
    raising(); killed()

with DAG("waiting", default_args={{"executor": "mine"}}):
    @task
    def waits(): wait("waits")
    @task
    def deaf():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait("deaf")
    waits(); deaf()
"""


@pytest.fixture
def custom(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A ready deployment whose plugins folder holds the tutorial's file, and which has ``hybrid`` on its path."""
    for folder in ("plugins", "bin", "notes"):
        (deployment.home / folder).mkdir()
    shutil.copy(ROOT / "docs" / "tutorial.py", deployment.home / "plugins")
    (deployment.home / "bin" / "hybrid").write_text(HYBRID)
    (deployment.home / "bin" / "hybrid").chmod(0o755)
    monkeypatch.setenv("PATH", f"{deployment.home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    deployment.configure({"core": {"executor": EXECUTORS}})
    deployment.write_dag("custom", DAG.format(notes=str(deployment.home / "notes")))
    return deployment


def executors(deployment: Deployment, run_id: str) -> dict[str, str]:
    rows = deployment.query(
        "SELECT t.task_id, a.executor FROM task_attempt a JOIN task_instance t ON t.id = a.task_instance_id"
        " JOIN dag_run r ON r.id = t.dag_run_id WHERE r.run_id = ?",
        run_id,
    )
    return {row["task_id"]: row["executor"] for row in rows}


def pids(deployment: Deployment, name: str) -> list[int]:
    path = deployment.home / "notes" / name
    wait_until(path.exists, f"{name} runs")
    return [int(word) for word in path.read_text().split()]


def test_the_demo_runs_on_the_tutorial_executor(custom: Deployment):
    """Its heavy tasks go to an instance of ``MyExecutor``."""
    shutil.copy(ROOT / "dags" / "stdlib_survey.py", custom.dags)
    custom.standalone()
    folder = custom.home / "report"
    run = custom.trigger("stdlib_survey", "--conf", f'{{"folder": "{folder}"}}')
    assert custom.wait_for_run("stdlib_survey", run, seconds=90) == "success", custom.states("stdlib_survey", run)
    used = executors(custom, run)
    assert {used[f"survey_heavy_{number}"] for number in range(4)} == {"heavy"}
    assert used["report"] == "LocalExecutor"
    assert (folder / "report.md").exists()
    listed = {row["name"]: (row["class"], row["is_local"], row["health"]) for row in custom.json("executors", "list")}
    assert listed == {name: (cls, True, "healthy") for name, cls in CLASSES.items()}


def test_values_retries_and_floods_pass_through_it(custom: Deployment):
    custom.standalone()
    run = custom.run_to_end("mixed")
    assert executors(custom, run) == {
        "here": "LocalExecutor", "there": "mine", "flooding": "mine", "second_try": "mine",
    }  # fmt: skip
    assert (custom.xcom(run, "there"), custom.xcom(run, "second_try")) == (21, 2)
    assert "there got 20" in custom.hybrid("tasks", "logs", "mixed", run, "there").out
    assert [attempt["state"] for attempt in custom.attempts(run, "second_try")] == ["failed", "success"]
    assert not list((custom.home / "run").glob("*-*-*-*-*")), "start tickets were left behind"


def test_failures_are_failures(custom: Deployment):
    custom.standalone()
    run = custom.trigger("failing")
    assert custom.wait_for_run("failing", run) == "failed"
    assert custom.task_states(run) == {"raising": "failed", "killed": "failed"}
    assert "on purpose" in custom.hybrid("tasks", "logs", "failing", run, "raising").out


def test_cleared_tasks_are_stopped(custom: Deployment):
    """The running attempts end, also the one that is deaf to SIGTERM, and new ones take their place."""
    custom.standalone()
    run = custom.trigger("waiting")
    old = [*pids(custom, "waits"), *pids(custom, "deaf")]
    for name in ("waits", "deaf"):
        (custom.home / "notes" / name).unlink()
    custom.hybrid("tasks", "clear", "waiting", "--run-id", run, "-y")
    new = [*pids(custom, "waits"), *pids(custom, "deaf")]
    assert not set(old) & set(new)
    wait_until(lambda: not any(map(is_alive, old)), "the old attempts are gone")
    (custom.home / "notes" / "go").touch()
    assert custom.wait_for_run("waiting", run) == "success"
    assert [len(custom.attempts(run, name)) for name in ("waits", "deaf")] == [2, 2]


def test_nothing_outlives_a_stop(custom: Deployment):
    """What still runs after ``shutdown_grace`` is killed with everything that it has started."""
    daemon = custom.standalone()
    custom.trigger("waiting")
    left = [*pids(custom, "waits"), *pids(custom, "deaf")]
    assert daemon.stop() == 0
    wait_until(lambda: not any(map(is_alive, left)), "all gone")


def test_its_module_may_be_on_the_python_path(deployment: Deployment, monkeypatch: pytest.MonkeyPatch):
    deployment.configure({"core": {"executor": "LocalExecutor, mine:tutorial.MyExecutor"}})
    monkeypatch.setattr(
        Deployment,
        "environment",
        property(
            lambda self, old=Deployment.environment: old.fget(self) | {"PYTHONPATH": f"{ROOT}:{Path(ROOT, 'docs')}"}
        ),
    )
    assert [row["class"] for row in deployment.json("executors", "list")] == ["LocalExecutor", "MyExecutor"]
