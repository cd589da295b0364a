"""Which options must be the same in which processes, what they declare of themselves, and how a difference is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from executors.findings import Component
from runtime.config import load
from runtime.config.parity import (
    API_SERVER,
    COMMAND,
    DAG_PROCESSOR,
    LOG_KEY,
    PARITY,
    SCHEDULER,
    SIGNING_KEY,
    WORKER,
    declare,
    differences,
)

KINDS = (SCHEDULER, DAG_PROCESSOR, API_SERVER, WORKER, COMMAND)


def told(*components: Component) -> list[tuple[str, str]]:
    return [(str(each.severity), each.text) for each in differences(components)]


def test_processes_with_the_same_settings_agree(home):
    settings = load(env={"HYBRID__CORE__EXECUTOR": "LocalExecutor,CeleryExecutor"})
    assert told(*(Component(kind, "a", declare(settings, kind), 0.5) for kind in KINDS)) == []


@pytest.mark.parametrize(
    ("variable", "value", "kinds"),
    [
        ("CORE__EXECUTOR", "CeleryExecutor", (SCHEDULER, DAG_PROCESSOR)),
        ("CORE__EXECUTOR_ROUTES", "queue=gpu -> LocalExecutor", (SCHEDULER, SCHEDULER)),
        ("CORE__EXECUTOR_FALLBACK", "full", (SCHEDULER, COMMAND)),
        ("SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "90", (SCHEDULER, WORKER)),
        ("SCHEDULER__TASK_HEARTBEAT_SEC", "7", (SCHEDULER, WORKER)),
        ("OPERATORS__DEFAULT_QUEUE", "slow", (DAG_PROCESSOR, WORKER)),
        ("CORE__DEFAULT_TIMEZONE", "Europe/Paris", (DAG_PROCESSOR, WORKER)),
        ("CORE__EXECUTION_API_SERVER_URL", "http://elsewhere:1/execution/v1", (SCHEDULER, WORKER)),
        ("LOGGING__WORKER_LOG_SERVER_PORT", "9999", (WORKER, COMMAND)),
        ("DATABASE__SQL_ALCHEMY_CONN", "postgresql://u:hidden@db:5432/hybrid", (SCHEDULER, API_SERVER)),
    ],
)
def test_each_drift_is_one_line_with_both_values_and_who_has_them(home, variable, value, kinds):
    drifted = load(env={f"HYBRID__{variable}": value})
    one = Component(kinds[0], "a:1", declare(load(env={}), kinds[0]))
    other = Component(kinds[1], "b:2", declare(drifted, kinds[1]))
    ((_, text),) = told(one, other)
    assert f"{variable.split('__')[1].lower()} is " in text
    assert f" in {kinds[0]} a:1" in text
    assert f" in {kinds[1]} b:2" in text
    assert "hidden" not in text


def test_the_rarer_value_comes_last_and_an_empty_one_is_called_nothing():
    said = {"a": "", "b": "r", "c": "r"}
    values = [Component(SCHEDULER, name, {"[core] executor_routes": text}) for name, text in said.items()]
    ((severity, text),) = told(*values)
    assert severity == "error"
    assert "is r in scheduler b, scheduler c; nothing in scheduler a. A task goes" in text


def test_what_a_process_does_not_share_is_not_compared():
    """Also what it says beyond that, and what an older one does not say at all."""
    option = "[core] executor"
    assert told(Component(SCHEDULER, "a", {option: "x"}), Component(WORKER, "w", {option: "y"})) == []
    assert told(Component(SCHEDULER, "a", {option: "x"}), Component(DAG_PROCESSOR, "d")) == []


def test_keys_are_compared_by_their_ids_where_they_must_be_the_same():
    server = Component(API_SERVER, "a", {SIGNING_KEY: "HS512 aaaaaa"})
    ((severity, text),) = told(server, Component(SCHEDULER, "s", {SIGNING_KEY: "HS512 bbbbbb"}))
    assert severity == "error"
    assert "jwt_secret" in text
    assert told(server, Component(WORKER, "w", {LOG_KEY: "HS512 bbbbbb"})) == []


def test_clocks_that_are_off_are_told_and_others_are_not():
    clocks = {"a": 4.9, "b": -61.0, "c": None, "d": 12.2}
    found = told(*(Component(WORKER, name, {}, offset) for name, offset in clocks.items()))
    assert [text.split(". ")[0] for _, text in found] == [
        "the clock of worker b is 61 s behind",
        "the clock of worker d is 12 s ahead",
    ]


def test_what_anybody_on_the_broker_says_stays_one_short_line():
    option = "[scheduler] task_heartbeat_sec"
    bad = "1\x1b[31m\n" + "x" * 5000
    ((_, text),) = told(Component(SCHEDULER, "a", {option: "10"}), Component(WORKER, "w\nw", {option: bad}))
    assert text.isprintable()
    assert len(text) < 700


def test_no_secret_is_declared_and_only_what_is_shared(home):
    secrets = {
        "HYBRID__DATABASE__SQL_ALCHEMY_CONN": "postgresql://user:p@ss?word@db.example:5432/hybrid?sslmode=require",
        "HYBRID__API_AUTH__JWT_SECRET": "s" * 40,
        "HYBRID__LOGGING__WORKER_LOG_SERVER_SECRET": "t" * 40,
        "HYBRID__CORE__EXECUTION_API_SERVER_URL": "http://me:hidden@api:8080/execution/v1",
    }
    settings = load(env=secrets)
    for kind in KINDS:
        declared = declare(settings, kind)
        text = json.dumps(declared)
        assert not any(secret in text for secret in ("ss?word", "user", "hidden", "s" * 40, "t" * 40))
        assert set(declared) == {each.option for each in PARITY if kind in each.kinds and each.read}
    assert declare(settings, API_SERVER)["[database] sql_alchemy_conn"] == "postgresql://db.example:5432/hybrid"
    assert "[database] sql_alchemy_conn" not in declare(settings, WORKER)


def test_an_sqlite_file_may_have_any_name(home):
    settings = load(env={})
    settings = replace(settings, database=replace(settings.database, sql_alchemy_conn="sqlite:////a/b@c/h.db"))
    assert declare(settings, SCHEDULER)["[database] sql_alchemy_conn"] == "sqlite:////a/b@c/h.db"
