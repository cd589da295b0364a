"""``hybrid executors explain``: the decision, every rule that was asked, and how the executors of the chain are."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def routed(monkeypatch: pytest.MonkeyPatch, home) -> None:
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor, heavy:LocalExecutor")
    monkeypatch.setenv(
        "HYBRID__CORE__EXECUTOR_ROUTES", "queue=gpu -> heavy; tag=night*, task_id=load -> heavy, LocalExecutor"
    )


def test_decision_and_what_led_to_it(hybrid, etl, live_scheduler):
    told = hybrid("executors", "explain", etl, "load", "-o", "json").json
    rule = "route 2: tag=night*, task_id=load -> heavy, LocalExecutor"
    assert (told["executor"], told["fallback_to"], told["fallback_when"], told["reason"]) == (
        "heavy", ["LocalExecutor"], "unavailable", rule,
    )  # fmt: skip
    assert [entry["what"] for entry in told["tried"]][-2:] == ["route 1: queue=gpu -> heavy", rule]
    assert [entry["decides"] for entry in told["tried"]] == [False, False, False, False, True]
    assert told["health"] == {"LocalExecutor": "healthy, 30 open slots"}


def test_table_is_for_people(hybrid, etl):
    out = hybrid("executors", "explain", etl, "load").out
    assert "task: says nothing" in out
    assert "fallback_to" in out


def test_task_whose_executor_is_not_configured_has_none(hybrid, etl, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR_ROUTES", "")
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "other:LocalExecutor")
    told = hybrid("executors", "explain", etl, "extract", "-o", "json")
    assert (told.code, told.json["executor"]) == (1, None)
    assert told.json["reason"].startswith("executor 'heavy' is not configured")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("etk", "load"), "did you mean 'etl'?"),
        (("etl", "lod"), "DAG 'etl' has no task 'lod'; did you mean load?"),
    ],
)
def test_unknown_names_are_one_line(hybrid, etl, words, told):
    result = hybrid("executors", "explain", *words)
    assert result.code == 1
    assert told in result.err
    assert result.err.count("\n") == 1


def test_bad_route_is_one_line(hybrid, etl, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR_ROUTES", "queue=gpu -> nowhere")
    result = hybrid("executors", "explain", etl, "load")
    assert result.code == 1
    assert "[core] executor_routes, rule 1 'queue=gpu -> nowhere': unknown executor 'nowhere'" in result.err
