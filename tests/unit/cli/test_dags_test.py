"""``hybrid dags test``: a whole run in the foreground, without a deployment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DAG = """
from runtime import DAG, task

with DAG("small"):
    @task(executor="heavy")
    def first(params=None, dag_run=None):
        return dag_run.conf.get("number", 1)

    @task
    def second(number, ds=None):
        assert number == 7, f"got {number} on {ds}"

    second(first())
"""


@pytest.fixture
def dags_test(home):
    (home / "dags").mkdir()
    (home / "dags" / "small.py").write_text(DAG)
    env = {**os.environ, "HYBRID__CORE__EXECUTOR": "LocalExecutor, heavy:LocalExecutor"}

    def run(*words):
        command = [sys.executable, "-m", "runtime.cli.main", "dags", "test", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)

    return run


def test_success_exits_0_and_honours_each_executor(dags_test, home):
    done = dags_test("small", "2026-01-02", "--conf", '{"number": 7}')
    assert (done.returncode, done.stderr) == (0, "")
    *changes, last = done.stdout.splitlines()
    assert last == "small: success"
    ends = {line.split()[2]: line.split()[-1] for line in changes if "success" in line}
    assert ends == {"first": "heavy", "second": "LocalExecutor"}
    assert not (home / "hybrid.db").exists(), "nothing is left in the deployment's database"


def test_failure_exits_1_and_says_where_the_logs_are(dags_test, home):
    done = dags_test("small")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "small: failed"
    assert done.stderr == f"hybrid: logs are below {home}/logs/dag_id=small\n"


def test_unknown_dag_suggests(dags_test):
    done = dags_test("smal")
    assert done.returncode == 1
    assert done.stderr == "hybrid: there is no DAG 'smal', did you mean 'small'?; see `hybrid dags list`\n"


def test_import_error_is_named(dags_test, home):
    (home / "dags" / "small.py").write_text("from runtime import DAG\nimport nothing_of_this_name\n")
    done = dags_test("small")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "small.py: line 2: ModuleNotFoundError: No module named 'nothing_of_this_name'" in done.stderr
