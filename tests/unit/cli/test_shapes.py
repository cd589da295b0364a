"""What each verb prints: the shapes that other tools rely on."""

from __future__ import annotations

import pytest

from runtime.config import load

VENDING = """
from executors import BaseExecutor
from executors.cli import ActionCommand, Arg, GroupCommand


def opened(args):
    print("open", args.wide)
    return 3


class VendingExecutor(BaseExecutor):
    @staticmethod
    def get_cli_commands():
        wide = Arg(("--wide",), {"action": "store_true"})
        return [GroupCommand("boxes", "boxes", [ActionCommand("open", "open a box", opened, [wide])])]
"""


def test_version_is_one_line(hybrid):
    result = hybrid("version")
    assert (result.code, result.err) == (0, "")
    assert result.out.strip().count(".") == 2


def test_dags_list(hybrid, etl, settings):
    assert hybrid("dags", "list", "-o", "json").json == [
        {
            "dag_id": "etl",
            "is_paused": False,
            "schedule": "0 3 * * *",
            "fileloc": str(settings.core.dags_folder / "sub" / "etl.py"),
            "tags": ["nightly", "etl"],
        }
    ]


def test_list_import_errors_exits_1_when_there_are_any(hybrid, settings, broken):
    result = hybrid("dags", "list-import-errors", "-o", "json")
    assert result.json == [{"filepath": str(settings.core.dags_folder / "broken.py"), "error": "SyntaxError: line 3"}]
    assert result.code == 1


def test_list_import_errors_exits_0_when_there_are_none(hybrid, etl):
    assert hybrid("dags", "list-import-errors").code == 0


def test_trigger_prints_the_run(hybrid, etl):
    result = hybrid("dags", "trigger", "etl", "--run-id", "mine", "--logical-date", "2026-01-02T03:04:05", "-o", "json")
    assert result.code == 0
    assert result.json == {
        "dag_id": "etl",
        "run_id": "mine",
        "state": "queued",
        "logical_date": "2026-01-02T03:04:05.000000+00:00",
        "start_date": None,
        "end_date": None,
    }


def test_logical_date_without_a_zone_is_in_the_default_one(hybrid, etl, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__DEFAULT_TIMEZONE", "Asia/Tokyo")
    result = hybrid("dags", "trigger", "etl", "--logical-date", "2026-01-02", "-o", "json")
    assert result.json["logical_date"] == "2026-01-01T15:00:00.000000+00:00"


def test_trigger_of_a_paused_dag_names_unpause(hybrid, etl):
    assert hybrid("dags", "pause", "etl", "-o", "json").json == [{"dag_id": "etl", "is_paused": True}]
    refused = hybrid("dags", "trigger", "etl")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "hybrid: DAG etl is paused; run `hybrid dags unpause etl` first\n"
    assert hybrid("dags", "unpause", "etl").code == 0
    assert hybrid("dags", "trigger", "etl").code == 0


def test_list_runs_newest_first(hybrid, run):
    assert hybrid("dags", "trigger", "etl", "-r", "r2").code == 0
    runs = hybrid("dags", "list-runs", "etl", "-o", "json").json
    assert [one["run_id"] for one in runs] == ["r2", "r1"]
    assert runs[1]["logical_date"] == "2025-06-15T15:06:40.000000+00:00"
    assert len(hybrid("dags", "list-runs", "etl", "--limit", "1", "-o", "json").json) == 1
    assert hybrid("dags", "list-runs", "etl", "--state", "failed", "-o", "json").json == []


def test_tasks_list(hybrid, etl):
    rows = hybrid("tasks", "list", "etl", "-o", "json").json
    assert [(row["task_id"], row["executor"], row["upstream"]) for row in rows] == [
        ("extract", "heavy", []),
        ("load", None, ["extract"]),
    ]


def test_states_for_dag_run(hybrid, run):
    done, waiting = hybrid("tasks", "states-for-dag-run", "etl", "r1", "-o", "json").json
    assert done == {
        "task_id": "extract",
        "map_index": -1,
        "try_number": 1,
        "state": "success",
        "executor": "heavy",
        "executor_reason": "executor= of the task",
        "queue": "default",
        "pool": "default_pool",
        "priority_weight": 1,
        "scheduled_at": None,
        "queued_at": "2025-06-15T15:06:40.000001+00:00",
        "start_date": "2025-06-15T15:06:42.000000+00:00",
        "end_date": "2025-06-15T15:06:43.500000+00:00",
        "duration": 1.5,
        "hostname": None,
        "pid": 42,
        "external_executor_id": None,
        "infra_losses": 1,
        "waiting_on": None,
        "suspicion": None,
    }
    assert list(waiting) == list(done)
    assert (waiting["state"], waiting["executor"], waiting["duration"]) == ("none", None, None)


def test_logs_show_every_dispatch_of_the_try(hybrid, run):
    folder = load().logging.base_log_folder / "dag_id=etl" / "run_id=r1" / "task_id=extract"
    folder.mkdir(parents=True)
    (folder / "attempt=1.2.log").write_text("hello\n")
    result = hybrid("tasks", "logs", "etl", "r1", "extract")
    assert (result.code, result.out) == (0, "hello\n")
    assert "try 1, dispatch 1 on heavy: lost: worker died; it logged nothing" in result.err
    assert "try 1, dispatch 2 on heavy: success" in result.err


def test_clear_makes_tasks_run_again(hybrid, run):
    result = hybrid("tasks", "clear", "etl", "-t", "^extract$", "--run-id", "r1", "-y")
    assert (result.code, result.out) == (0, "cleared 1 task instance\n")
    assert hybrid("tasks", "clear", "etl", "--only-failed", "-y").out == "nothing to clear\n"


def test_executors_list_works_without_database_and_scheduler(hybrid, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor, heavy:LocalExecutor")
    monkeypatch.setenv("HYBRID__LOCAL_EXECUTOR__HEAVY__PARALLELISM", "2")
    nothing = {"open_slots": None, "queued": None, "running": None, "health": None, "reason": None}
    nothing |= {"is_local": True, "serve_logs": True, "is_production": True, "is_single_threaded": False}
    nothing |= {"change_sensor_mode_to_reschedule": False, "supports_pickling": False, "supports_sentry": False}
    assert hybrid("executors", "list", "-o", "json").json == [
        {"name": "LocalExecutor", "class": "LocalExecutor", "is_default": True, "parallelism": 32, **nothing},
        {"name": "heavy", "class": "LocalExecutor", "is_default": False, "parallelism": 2, **nothing},
    ]


def test_executors_list_shows_what_live_schedulers_say(hybrid, live_scheduler):
    (row,) = hybrid("executors", "list", "-o", "json").json
    assert (row["open_slots"], row["queued"], row["running"], row["health"]) == (30, 0, 2, "healthy")


def test_executors_list_warns_about_one_that_is_not_for_production(hybrid, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "SequentialExecutor")
    assert "not meant for production" in hybrid("executors", "list").err


def test_config_get_value_and_list(hybrid, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__PARALLELISM", "3")
    assert hybrid("config", "get-value", "core", "parallelism").out == "3\n"
    rows = hybrid("config", "list", "-o", "json").json
    assert {"section": "core", "key": "parallelism", "value": "3", "source": "HYBRID__CORE__PARALLELISM"} in rows


def test_config_get_value_reads_executor_sections(hybrid, home):
    (home / "hybrid.cfg").write_text("[local_executor:heavy]\nparallelism = 2\n")
    assert hybrid("config", "get-value", "local_executor:heavy", "parallelism").out == "2\n"


def test_warnings_go_to_stderr_and_leave_stdout_alone(hybrid, home):
    (home / "hybrid.cfg").write_text("[core]\nparalelism = 2\n")
    result = hybrid("config", "get-value", "core", "parallelism")
    assert result.out == "32\n"
    assert result.err.startswith("hybrid: warning: ")
    assert "did you mean parallelism?" in result.err


def test_info_says_where_things_are(hybrid, home, live_scheduler):
    info = hybrid("info", "-o", "json").json
    assert info["home"] == str(home)
    assert info["database"] == "ok"
    assert info["schedulers"] == ["box pid 7"]


def test_db_migrate_check_reset(hybrid, home):
    assert hybrid("db", "check").code == 1
    assert hybrid("db", "migrate").code == 0
    assert hybrid("db", "migrate").code == 0
    assert hybrid("db", "check").code == 0
    assert hybrid("db", "reset", "-y").code == 0
    assert hybrid("dags", "list", "-o", "json").json == []


@pytest.mark.parametrize("words", [[], ["dags"], ["tasks"]])
def test_without_a_verb_help_is_shown_with_exit_2(hybrid, words):
    result = hybrid(*words)
    assert result.code == 2
    assert "usage: hybrid" in result.out + result.err


@pytest.mark.parametrize("words", [["--help"], ["dags", "--help"], ["dags", "trigger", "--help"], ["version", "-h"]])
def test_help_is_shown_with_exit_0(hybrid, words):
    result = hybrid(*words)
    assert result.code == 0
    assert result.out.startswith("usage: hybrid")


def test_configured_executor_brings_commands_of_its_own(hybrid, home, monkeypatch, tmp_path):
    (tmp_path / "vending_executor.py").write_text(VENDING)
    monkeypatch.syspath_prepend(tmp_path)
    assert hybrid("boxes", "open").code == 2
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor, vending_executor.VendingExecutor")
    opened = hybrid("boxes", "open", "--wide")
    assert (opened.code, opened.out) == (3, "open True\n")
    assert "did you mean `hybrid boxes open`?" in hybrid("boxes", "opne").err
