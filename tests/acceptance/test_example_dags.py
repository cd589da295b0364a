"""Every example in ``dags/`` runs to the end that its own text promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployment import ROOT, wait_until

SURVEYS = [f"survey_{n:02}" for n in range(12)] + [f"survey_heavy_{n}" for n in range(4)]
ENDS = {
    "branching": {
        **dict.fromkeys(("count", "choose", "in_bulk", "join", "both", "left", "right"), "success"),
        **dict.fromkeys(("newest_only", "refresh_dashboard", "is_small"), "success"),
        **dict.fromkeys(("one_by_one", "nothing", "by_mail"), "skipped"),
    },
    "callbacks": {"second_time_lucky": "success", "whose_callback_is_broken": "success", "nothing_to_do": "skipped"},
    "one_after_another": dict.fromkeys(("call_api", "load", "check"), "success"),
    "timetables": {"nothing": "success"},
    "executors": dict.fromkeys(["plan", "crunch", "crunch__1", "report"], "success"),
    "fan_out": dict.fromkeys(["split", "add_up", "add_up__1", "add_up__2", "add_up__3", "total"], "success"),
    "setup_teardown": dict.fromkeys(("create_cluster", "first", "second", "delete_cluster"), "success"),
    "task_groups": dict.fromkeys(
        ["load.dimensions", "load.facts", *(f"one_source{n}.{do}" for n in ("", "__1") for do in ("extract", "check"))],
        "success",
    ),
    "trigger_dag_run": dict.fromkeys(("start", "after"), "success"),
    "hello": dict.fromkeys(["say_host", "greet"], "success"),
    "pools": dict.fromkeys(["urgent", "wide", *(f"wide__{n}" for n in range(1, 6))], "success"),
    "retries": dict.fromkeys(["flaky", "done"], "success"),
    "templates": dict.fromkeys(["measure", "tell"], "success"),
    "trigger_rules": {
        "load": "success",
        "optional": "skipped",
        "needs_both": "skipped",
        "needs_one": "success",
        "clean_up": "success",
    },
    "variables": dict.fromkeys(["prepare", "hide", "tell"], "success"),
    "stdlib_survey": dict.fromkeys(["plan", "report", *SURVEYS], "success"),
}


def test_every_example_has_an_expected_end():
    assert {path.stem for path in (ROOT / "dags").glob("*.py")} == {*ENDS, "catchup"}


def test_no_example_has_an_import_error(examples):
    for path in (ROOT / "dags").glob("*.py"):
        examples.wait_for_dag(path.stem)
    assert examples.json("dags", "list-import-errors") == []


@pytest.mark.parametrize("dag_id", ENDS)
def test_example_runs_to_its_end(examples, tmp_path, dag_id):
    words = {"stdlib_survey": ("--conf", f'{{"folder": "{tmp_path}"}}')}
    run = examples.run_to_end(dag_id, *words.get(dag_id, ()))
    assert examples.task_states(run) == ENDS[dag_id]


def test_survey_writes_its_report_and_uses_both_executors(examples, tmp_path):
    run = examples.run_to_end("stdlib_survey", "--conf", f'{{"folder": "{tmp_path}"}}')
    executors = {task: record["executor"] for task, record in examples.states("stdlib_survey", run).items()}
    assert executors == {task: "heavy" if "heavy" in task else "LocalExecutor" for task in executors}
    assert "# The standard library" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
    assert Path(examples.xcom(run, "report")) == tmp_path / "report.md"


def test_catchup_makes_one_run_a_day_through_the_change_of_the_clocks(examples):
    wait_until(
        lambda: [run["state"] for run in examples.json("dags", "list-runs", "catchup")] == ["success"] * 5,
        "five successful runs of catchup",
    )
    runs = sorted(examples.json("dags", "list-runs", "catchup"), key=lambda run: run["logical_date"])
    assert [run["logical_date"][:16] for run in runs] == [f"2025-03-{day}T23:00" for day in range(25, 30)]
    assert [examples.xcom(run["run_id"], "hours") for run in runs] == [24, 24, 24, 24, 23]
