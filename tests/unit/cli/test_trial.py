"""``hybrid tasks test`` and ``render``: one task in the terminal, and nothing written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import insert, select

from runtime.db.dags import DatabaseDagStore
from runtime.db.schema import dag_run, event, task_attempt, task_instance, variable, xcom
from runtime.processing.once import make_processor

DAG = """
import os, sys
from runtime import DAG, BashOperator, Connection, Param, Variable, task
from runtime.authoring.trigger_dagrun import TriggerDagRunOperator

with DAG("small", schedule="@daily", params={"n": Param(1, type="integer")}):
    @task
    def first():
        return {"n": 7}

    @task
    def second(number, params=None, ti=None, test_mode=None, ds=None):
        print("got", number, params["n"], test_mode, os.environ.get("COLOUR"), ds, ti.try_number)
        Variable.set("seen", "yes")
        print("variable", Variable.get("seen"), Variable.get("password"))
        ti.xcom_push("mine", [1])
        print("own", ti.xcom_pull(key="mine"))
        return "done"

    second(first())
    mood = "echo $MOOD {{ ds }} {{ params.n }} {{ var.value.password }}"
    BashOperator(task_id="shell", bash_command=mood, env={"MOOD": "good"})
    BashOperator(task_id="leave", bash_command="exit 99")
    BashOperator(task_id="fail", bash_command="exit 3")
    BashOperator(task_id="wrong", bash_command="{{ nothing.at.all }}")
    TriggerDagRunOperator(task_id="start", trigger_dag_id="small")
"""


@pytest.fixture
def tasks(home):
    """Run ``hybrid tasks …`` in a process of its own; the deployment has one DAG file, and no database."""
    (home / "dags").mkdir()
    (home / "dags" / "small.py").write_text(DAG)

    def run(*words, **env):
        command = [sys.executable, "-m", "runtime.cli.main", "tasks", *words]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **env}, check=False, timeout=60
        )

    return run


@pytest.fixture
def known(tasks, settings, database, hybrid):
    """The DAG is stored, and has a run ``r1`` in which ``first`` has returned ``{"n": 7}``; a variable is a secret."""
    make_processor(settings, DatabaseDagStore(database, paused_at_creation=False)).parse_once()
    hybrid("dags", "trigger", "small", "-r", "r1", "-l", "2026-01-02", "-c", '{"n": 5}')
    hybrid("variables", "set", "password", "hunter2hunter2")
    with database.write() as connection:
        identifier = connection.execute(select(dag_run.c.id)).scalar_one()
        value = {"key": "return_value", "value": '{"n": 7}', "attempt_id": "a", "created_at": 0}
        connection.execute(insert(xcom).values(dag_run_id=identifier, task_id="first", map_index=-1, **value))
    return tasks


def everything(database):
    with database.read() as connection:
        return [
            connection.execute(select(t)).all() for t in (dag_run, task_instance, task_attempt, xcom, variable, event)
        ]


def test_it_sees_the_run_that_is_there_and_changes_nothing(known, database):
    before = everything(database)
    done = known("test", "small", "second", "r1", "--env-vars", '{"COLOUR": "blue"}')
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" - ")[2] for line in done.stdout.splitlines()]
    assert "got {'n': 7} 5 True blue 2026-01-02 1" in lines
    assert "variable yes ***" in lines, "a variable that it has set is there, and a secret is masked"
    assert "own [1]" in lines
    assert done.stdout.endswith('returned "done"\n')
    assert done.stderr == "small.second: success\n"
    assert everything(database) == before


def test_without_a_database_it_has_a_run_of_its_own(tasks, home):
    done = tasks(
        "test", "small", "shell", "2026-03-04", "--task-params", '{"n": 3}', HYBRID_VAR_PASSWORD="quite-secret"
    )
    assert (done.returncode, done.stderr) == (0, "small.shell: success\n")
    assert "good 2026-03-04 3 ***" in done.stdout
    assert not (home / "hybrid.db").exists()


@pytest.mark.parametrize(
    ("task_id", "code", "said"),
    [
        ("leave", 0, "small.leave: skipped: bash command exited with 99\n"),
        ("start", 1, "a trial starts no runs of other DAGs; `hybrid dags test` does"),
    ],
)
def test_the_end_is_told_by_word_and_exit_code(tasks, task_id, code, said):
    done = tasks("test", "small", task_id)
    assert done.returncode == code
    assert said in done.stderr


def test_rendered_fields_show_no_secret(known):
    shown = json.loads(known("render", "small", "shell", "r1", "-o", "json").stdout)
    assert shown[0] == {"field": "bash_command", "value": "echo $MOOD 2026-01-02 5 ***"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smal", "first"], "there is no DAG 'smal' in "),
        (["small", "frist"], "DAG small has no task 'frist', did you mean 'first'?; see `hybrid tasks list small`"),
        (["small", "first", "soon"], "DATE 'soon' is no ISO-8601 date and time such as"),
        (["small", "first", "-t", "[1]"], "--task-params must be a JSON object such as '{\"day\": 1}', not '[1]'"),
        (["small", "first", "--env-vars", '{"A": 1}'], "--env-vars: the value of A must be a text"),
    ],
)
def test_what_is_wrong_is_one_line(tasks, hybrid, words, message):
    refused = hybrid("tasks", "test", *words)
    assert (refused.code in (1, 2), refused.out) == (True, "")
    assert refused.err.startswith(f"hybrid: {message}")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test", "small", "first", "-t", '{"n": "x"}'], "task 'first': param 'n' = 'x': 'x' is not of type 'integer'"),
        (
            ["render", "small", "wrong", "2026-01-02"],
            "task 'wrong', field 'bash_command', line 1: 'nothing' is undefined",
        ),
    ],
)
def test_what_is_found_in_the_file_is_one_line_too(tasks, words, message):
    done = tasks(*words)
    assert (done.returncode, done.stderr.startswith(f"hybrid: {message}"), done.stderr.count("\n")) == (1, True, 1)
