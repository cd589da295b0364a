"""Bad command lines and broken homes: each is one clear line, and nothing is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

from runtime.cli.main import main


@pytest.fixture
def refused(home, capsys):
    """Run a command line that must fail; its only line on stderr, without ``hybrid: ``."""

    def run(*words: str, code: int) -> str:
        assert main(list(words)) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("hybrid: ")
        assert captured.err.count("\n") == 1
        return captured.err.removeprefix("hybrid: ").strip()

    return run


USAGE = [
    (["dag", "list"], "there is no `hybrid dag`; did you mean `hybrid dags`?"),
    (["dags", "lsit"], "there is no `hybrid dags lsit`; did you mean `hybrid dags list`?"),
    (["x"], "there is no `hybrid x`; choose from dags, tasks, backfill, executors, pools, variables, connections, "
            "jobs, config, db, standalone, scheduler, dag-processor, api-server, serve-logs, rotate-fernet-key, "
            "completion, info, version"),
    (["dags", "trigger"], "the following arguments are required: DAG; see `hybrid dags trigger --help`"),
    (["dags", "list", "-o", "xml"],
     "argument -o/--output: invalid choice: 'xml' (choose from 'table', 'json', 'yaml', 'plain'); "
     "see `hybrid dags list --help`"),
    (["dags", "list", "extra"], "unrecognized arguments: extra; see `hybrid dags list --help`"),
    (["tasks", "logs", "d", "r", "t", "--try", "one"],
     "argument --try: invalid int value: 'one'; see `hybrid tasks logs --help`"),
    (["dags", "trigger", "d", "--conf", "{"],
     "--conf is no JSON: Expecting property name enclosed in double quotes at character 2 of '{'"),
    (["dags", "trigger", "d", "--conf", "[1]"], "--conf must be a JSON object such as '{\"day\": 1}', not '[1]'"),
    (["dags", "trigger", "d", "--logical-date", "tomorrow"],
     "--logical-date 'tomorrow' is no ISO-8601 date and time such as 2026-01-31T06:00+00:00"),
    (["dags", "trigger", "d", "--logical-date", "0001-01-01T00:00+14:00"],
     "--logical-date '0001-01-01T00:00+14:00' is no ISO-8601 date and time such as 2026-01-31T06:00+00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_wrong_usage_exits_2(refused, words, message):
    assert refused(*words, code=2) == message


def test_destroying_asks_somebody(refused, settings):
    assert "Nobody is here to answer; pass -y" in refused("db", "reset", code=2)


def test_unknown_dag_run_and_option(refused, settings):
    assert refused("dags", "trigger", "etl", code=1) == "there is no DAG 'etl'; see `hybrid dags list`"
    assert refused("tasks", "states-for-dag-run", "etl", "r", code=1).startswith("there is no DAG 'etl'")
    assert refused("tasks", "clear", "etl", "-y", code=1).startswith("there is no DAG 'etl'")
    assert refused("config", "get-value", "core", "executer", code=1) == (
        "[core] has no option executer; did you mean executor?"
    )
    assert refused("config", "get-value", "corr", "x", code=1) == "there is no section [corr]; did you mean core?"


def test_bad_configuration_ends_every_command_with_its_line(refused, home):
    (home / "hybrid.cfg").write_text("[core]\nparallelism = lots\n")
    for words in (["dags", "list"], ["executors", "list"], ["config", "list"], ["standalone"]):
        assert refused(*words, code=1) == (
            f"[core] parallelism = 'lots' ({home}/hybrid.cfg:2): expected a whole number"
        )


def test_bad_executor_list_is_one_line(refused, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutr")
    assert "did you mean LocalExecutor?" in refused("executors", "list", code=1)


@pytest.mark.parametrize("words", [["dags", "list"], ["db", "check"], ["dags", "trigger", "x"]])
def test_missing_database_names_the_command_that_makes_it(refused, home, words):
    expected = f"there is no metadata DB at {home}/hybrid.db; run `hybrid db migrate` to create it"
    assert refused(*words, code=1) == expected
    assert not (home / "hybrid.db").exists()


def test_database_that_is_not_migrated(refused, home):
    sqlite3.connect(home / "hybrid.db").close()
    (home / "hybrid.db").touch()
    assert refused("dags", "list", code=1) == "the metadata DB is not migrated; run `hybrid db migrate`"


@pytest.mark.parametrize("words", [["dags", "list"], ["db", "check"], ["db", "migrate"]])
def test_database_of_a_newer_version_is_left_alone(refused, settings, home, words):
    with sqlite3.connect(home / "hybrid.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    message = refused(*words, code=1)
    assert "too new: it is at revision 9999" in message
    assert message.endswith("upgrade hybrid-runtime")


def test_file_that_is_no_database(refused, home):
    (home / "hybrid.db").write_text("this is a poem, not a database, and long enough to be seen as such\n" * 40)
    assert refused("dags", "list", code=1) == "the metadata DB cannot be read: file is not a database"


@pytest.mark.parametrize("verb", [["standalone"], ["db", "migrate"]])
def test_home_that_cannot_be_made_is_one_line(refused, monkeypatch, verb):
    monkeypatch.setenv("HYBRID_HOME", "/proc/nowhere")
    assert "/proc/nowhere" in refused(*verb, code=1)


def test_home_without_write_permission_is_one_line(refused, home, monkeypatch):
    """Root may write everywhere, so the system's answer is what the test changes."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refused("standalone", code=1) == f"home {home} is not writable; choose another with HYBRID_HOME"


def test_strange_bytes_in_arguments_are_one_line(home):
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli.main", b"dags", b"trigger", b"\xff\xfe"],
        capture_output=True,
        env={**os.environ, "HYBRID_HOME": str(home)},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
