"""``hybrid connections|variables|pools``: what they take, print, and write."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

URI = "postgres://u:CANARY-p@h:5/db?api_key=CANARY-e"


def test_a_connection_is_shown_without_its_secrets_unless_asked_for(hybrid, settings):
    assert hybrid("connections", "add", "pg", "--conn-uri", URI, "--conn-description", "about").out == (
        "stored connection pg\n"
    )
    one = hybrid("connections", "get", "pg", "-o", "json").json
    assert one == {
        "conn_id": "pg",
        "conn_type": "postgres",
        "description": "about",
        "host": "h",
        "schema": "db",
        "login": "u",
        "password": "***",
        "port": 5,
        "is_encrypted": True,
        "is_extra_encrypted": True,
        "extra_dejson": {"api_key": "***"},
        "get_uri": "postgres://u:***@h:5/db?api_key=***",
    }
    assert hybrid("connections", "list", "-o", "json").json == [one]
    for form in ("table", "plain", "yaml"):
        for words in (("get", "pg"), ("list",)):
            shown = hybrid("connections", *words, "-o", form)
            assert (shown.code, shown.err, "CANARY" in shown.out) == (0, "", False)
    assert hybrid("connections", "get", "pg", "--show-values", "-o", "json").json["get_uri"] == URI
    assert hybrid("connections", "list", "--conn-id", "no", "-o", "json").json == []


def test_a_connection_by_its_parts_and_secrets_from_stdin(hybrid, settings, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("CANARY word\n"))
    words = ["--conn-type", "http", "--conn-host", "h", "--conn-port", "80", "--conn-login", "u", "--conn-schema", "s"]
    assert hybrid("connections", "set", "c", *words, "--conn-password", "-", "--conn-extra", '{"a": 1}').code == 0
    shown = hybrid("connections", "get", "c", "--show-values", "-o", "json").json
    assert (shown["password"], shown["extra_dejson"], shown["port"]) == ("CANARY word", {"a": 1}, 80)
    assert hybrid("connections", "set", "c", "--conn-json", '{"conn_type": "x"}').code == 0
    assert hybrid("connections", "get", "c", "-o", "json").json["conn_type"] == "x"
    assert hybrid("connections", "delete", "c").out == "deleted connection c\n"
    assert hybrid("connections", "list", "-o", "json").json == []


@pytest.mark.parametrize("name", ["all.json", "all.yaml", "all.env"])
def test_connections_come_back_from_their_export(hybrid, settings, tmp_path, name):
    hybrid("connections", "add", "pg", "--conn-uri", URI)
    hybrid("connections", "add", "two", "--conn-uri", "http://h")
    before = hybrid("connections", "export", "-").out
    file = tmp_path / name
    file.write_text("of before, open to all")
    file.chmod(0o644)
    assert hybrid("connections", "export", str(file)).out == f"exported 2 connections to {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    hybrid("connections", "delete", "pg")
    done = hybrid("connections", "import", str(file))
    assert done.out == "imported 1 connection, 0 of them replaced; kept 1 that exist already: two\n"
    assert json.loads(before)["pg"]["password"] == "CANARY-p"
    assert hybrid("connections", "get", "pg", "--show-values", "-o", "json").json["get_uri"] == URI
    assert hybrid("connections", "import", str(file), "--overwrite").out.startswith("imported 2 connections, 2 of them")


def test_variables(hybrid, settings):
    assert hybrid("variables", "set", "k", '{"a":  1}', "--json", "--description", "about").out == "stored variable k\n"
    hybrid("variables", "set", "api_key", "CANARY")
    assert hybrid("variables", "get", "k", "--json").out == '{"a": 1}\n'
    assert hybrid("variables", "get", "k").out == '{"a":  1}\n'
    assert hybrid("variables", "get", "no", "-d", "default").out == "default\n"
    plain = {"description": None, "is_encrypted": True}
    described = {"key": "k", "description": "about", "is_encrypted": True}
    assert hybrid("variables", "list", "-o", "json").json == [{"key": "api_key", **plain}, described]
    shown = hybrid("variables", "list", "--show-values", "--hide-sensitive", "-o", "json").json
    assert [row["value"] for row in shown] == ["***", '{"a":  1}']
    assert hybrid("variables", "list", "--show-values", "-o", "json").json[0]["value"] == "CANARY"
    assert hybrid("variables", "delete", "k").code == 0


VALUES = {"text": "a b", "number": "1", "quoted": '"x"', "object": '{"a": [1, null]}', "wrapped": '{"value": 1}'}


@pytest.mark.parametrize("name", ["all.json", "all.yaml", "all.env"])
def test_variables_come_back_from_their_export(hybrid, settings, tmp_path, name):
    """Texts that look like JSON, and objects that look like a value with a description, as what they are."""
    for key, value in VALUES.items():
        hybrid("variables", "set", key, value, *(("--description", "about") if key == "object" else ()))
    file = tmp_path / name
    assert hybrid("variables", "export", str(file)).code == 0
    for key in VALUES:
        hybrid("variables", "delete", key)
    assert hybrid("variables", "import", str(file)).out == "imported 5 variables, 0 of them replaced\n"
    rows = hybrid("variables", "list", "--show-values", "-o", "json").json
    assert {row["key"]: row["value"] for row in rows} == VALUES
    assert [row["description"] for row in rows if row["key"] == "object"] == [None if name == "all.env" else "about"]


def test_pools(hybrid, settings, tmp_path):
    made = {"pool": "p", "slots": 3, "description": "about", "running": 0, "queued": 0, "open": 3}
    assert hybrid("pools", "set", "p", "3", "about", "-o", "json").json == [made]
    assert hybrid("pools", "set", "wide", "-1", "", "-o", "json").json[0]["open"] is None
    assert hybrid("pools", "get", "p", "-o", "json").json == [made]
    file = tmp_path / "pools.json"
    assert hybrid("pools", "export", str(file)).out == f"exported 3 pools to {file}\n"
    hybrid("pools", "delete", "p")
    hybrid("pools", "set", "wide", "1")
    assert hybrid("pools", "import", str(file)).out == "imported 3 pools, 2 of them replaced\n"
    found = hybrid("pools", "list", "-o", "json").json
    assert [(one["pool"], one["slots"]) for one in found] == [("default_pool", 128), ("p", 3), ("wide", -1)]
    deferred = hybrid("pools", "set", "p", "3", "--include-deferred")
    assert deferred.err == "hybrid: warning: include_deferred has no effect yet: no task is deferred\n"


def test_rotating_a_key_that_lies_in_the_home(hybrid, settings):
    hybrid("connections", "add", "pg", "--conn-uri", URI)
    hybrid("variables", "set", "k", "v")
    key = settings.home / "fernet.key"
    before = key.read_text().split()
    assert hybrid("rotate-fernet-key").out == "1 connections and 1 variables are stored under the newest key\n"
    assert key.read_text().split()[1:] == before
    key.write_text(key.read_text().split()[0])
    assert hybrid("variables", "get", "k").out == "v\n"
    assert hybrid("connections", "get", "pg", "--show-values", "-o", "json").json["password"] == "CANARY-p"


def test_a_host_is_tried_only_where_that_is_allowed(hybrid, settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        hybrid("connections", "add", "c", "--conn-uri", f"http://u:CANARY@127.0.0.1:{port}")
        refused = hybrid("connections", "test", "c")
        assert (refused.code, "[core] test_connection = Enabled" in refused.err) == (1, True)
        monkeypatch.setenv("HYBRID__CORE__TEST_CONNECTION", "Enabled")
        assert hybrid("connections", "test", "c").out == f"127.0.0.1:{port} answers; no login was tried\n"
    gone = hybrid("connections", "test", "c")
    assert (gone.code, gone.err) == (
        1,
        f"hybrid: connection 'c': 127.0.0.1:{port} cannot be reached: Connection refused\n",
    )
    hybrid("connections", "add", "nowhere", "--conn-type", "x")
    assert "of type 'x' has no host that could be tried" in hybrid("connections", "test", "nowhere").err


def test_jobs_check(hybrid, settings, live_scheduler):
    assert hybrid("jobs", "check").out == "found one alive job\n"
    assert hybrid("jobs", "check", "--job-type", "SchedulerJob", "--hostname", "box").code == 0
    for words in (("--job-type", "DagProcessorJob"), ("--hostname", "elsewhere")):
        none = hybrid("jobs", "check", *words)
        assert (none.code, none.err) == (1, "hybrid: no alive jobs found\n")


def test_db_clean_counts_asks_and_deletes(hybrid, run):
    before = ("db", "clean", "--clean-before-timestamp")
    counted = hybrid(*before, "2026-01-01", "--dry-run", "-t", "dag_run,log", "-o", "json").json
    assert counted == [{"table": "dag_run", "rows_to_delete": 0}, {"table": "event", "rows_to_delete": 0}]
    done = hybrid(*before, "2026-01-01", "--skip-archive", "-y", "-o", "json")
    assert {row["table"]: row["rows_deleted"] for row in done.json}["dag_run"] == 0
    for words, message in (
        (("2026-01-01", "-y"), "no archive tables are made; say --skip-archive to go on"),
        (("2999-01-01", "-y"), "--clean-before-timestamp 2999-01-01 is in the future"),
        (("2026-01-01", "--dry-run", "-t", "dag_runs"), "there is nothing to clean of 'dag_runs'"),
        (("soon", "--dry-run"), "'soon' is no ISO-8601 date and time"),
        (("2026-01-01", "--skip-archive"), "Nobody is here to answer; pass -y"),
    ):
        refused = hybrid(*before, *words)
        assert (refused.code, message in refused.err, refused.err.count("\n")) == (2, True, 1), refused.err


def test_completion_knows_groups_verbs_and_options(hybrid, tmp_path):
    (tmp_path / "script").write_text(hybrid("completion", "bash").out)

    def complete(*words: str) -> list[str]:
        line = " ".join(words)
        state = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}"
        command = f'source {tmp_path}/script; {state}; _hybrid; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    assert complete("hybrid", "con") == ["config", "connections"]
    assert complete("hybrid", "connections", "ex") == ["export"]
    assert complete("hybrid", "connections", "export", "file", "--file") == ["--file-format"]
    assert complete("hybrid", "completion", "z") == ["zsh"]
    assert "complete -c hybrid -n '__fish_use_subcommand'" in hybrid("completion", "fish").out
    assert "bashcompinit" in hybrid("completion", "zsh").out


def test_secrets_of_an_argument_list_are_not_left_in_it(settings, home, tmp_path):
    """While the database is written: here it is locked until the process list has been looked at."""
    import sqlite3

    with sqlite3.connect(home / "hybrid.db", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        words = [sys.executable, "-m", "runtime.cli.main", "connections", "add", "c", "--conn-uri", "x://u:CANARY@h"]
        environment = {**os.environ, "HYBRID_HOME": str(home), "PYTHONPATH": os.getcwd()}
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
            seen = b""
            while seen != b"hybrid connections add c" and process.poll() is None:
                seen = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0")
            waiting = process.poll() is None
            lock.execute("ROLLBACK")
            assert process.communicate(timeout=30)[0] == b"stored connection c\n"
    assert waiting, "it said no other title while it waited for the lock"


def test_yaml_is_what_a_yaml_reader_reads(hybrid, settings):
    hybrid("variables", "set", "yes", "no: - #")
    assert yaml.safe_load(hybrid("variables", "export", "-", "--file-format", "yaml").out) == {"yes": "no: - #"}
