"""``config lint``: everything that is wrong, at once."""

from __future__ import annotations

from dataclasses import fields

import pytest

from runtime.config.lint import lint
from runtime.config.options import SECTIONS
from runtime.config.renamed import GONE, RENAMED

FILE = """
[core]
parallelism = many
executr = x
dag_concurrency = 5
load_examples = True
host = h
[scheduler]
task_heartbeat_sec = 0
[webserver]
web_server_port = 9
[celery]
broker_url = redis://CANARY:CANARY@h
[celery:east]
x = 1
[schedulr]
x = 1
[mystery]
x = 1
"""


@pytest.fixture
def found(tmp_path):
    (tmp_path / "hybrid.cfg").write_text(FILE)
    findings = lint({"celery"}, tmp_path, {"HYBRID__API__POORT": "1", "HYBRID__CORE__FERNET_KEY": "CANARY"})
    return {(one.section, one.option): one for one in findings}


def test_every_mistake_has_its_line(found, tmp_path):
    file = tmp_path / "hybrid.cfg"
    assert {key: (one.source, one.problem) for key, one in found.items()} == {
        ("api", "poort"): ("HYBRID__API__POORT", "no option 'poort' in [api]; did you mean port?"),
        ("core", "parallelism"): (
            f"{file}:3",
            f"[core] parallelism = 'many' ({file}:3): expected a whole number",
        ),
        ("core", "executr"): (f"{file}:4", "no option 'executr' in [core]; did you mean executor?"),
        ("core", "dag_concurrency"): (
            f"{file}:5",
            "Airflow's option has another name here: [core] max_active_tasks_per_dag",
        ),
        ("core", "load_examples"): (f"{file}:6", GONE["core", "load_examples"]),
        ("core", "host"): (f"{file}:7", "no option 'host' in [core]; it belongs to [api]"),
        ("scheduler", "task_heartbeat_sec"): (
            f"{file}:9",
            f"[scheduler] task_heartbeat_sec = '0' ({file}:9): expected at least 0.1",
        ),
        ("webserver", "web_server_port"): (f"{file}:11", "Airflow's option has another name here: [api] port"),
        ("webserver", ""): (
            str(file),
            "there is no web server of its own here; host and port are those of [api]",
        ),
        ("schedulr", ""): (str(file), "no section [schedulr]; did you mean scheduler?"),
        ("mystery", ""): (
            str(file),
            "no section [mystery]; no option of ours and no configured executor reads it",
        ),
    }
    assert "CANARY" not in str(found)


def test_airflows_names_are_not_ours_and_lead_to_options_that_exist():
    declared = {(name, field.name) for name, cls in SECTIONS.items() for field in fields(cls)}
    assert set(RENAMED.values()) <= declared
    assert not declared & {*RENAMED, *GONE}


def test_the_verb(hybrid_main, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    assert hybrid_main(["config", "lint"]) == 0
    assert capsys.readouterr().out == "no problems found\n"
    (tmp_path / "hybrid.cfg").write_text(FILE)
    assert hybrid_main(["config", "lint", "--section", "core", "--ignore-option", "host", "-o", "plain"]) == 1
    assert capsys.readouterr().out.count("\ncore") == 4


@pytest.fixture
def hybrid_main():
    from runtime.cli.main import main

    return main
