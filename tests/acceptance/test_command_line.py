"""The shapes and exit codes that other tools rely on, against a live deployment."""

from __future__ import annotations

import re
from datetime import datetime

from deployment import wait_until

TWO = """
from runtime import DAG, task
with DAG("two", tags=["x"], schedule=None):
    @task(queue="q", priority_weight=3)
    def one(): return "é" * 3
    @task(executor="heavy", pool="default_pool")
    def two(value): print("got", value)
    two(one())
with DAG("failing"):
    @task
    def breaks(): raise ValueError("on purpose")
    breaks()
"""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
RUN_KEYS = ["dag_id", "run_id", "state", "logical_date", "start_date", "end_date"]
STATE_KEYS = [
    *("task_id", "map_index", "try_number", "state", "executor", "executor_reason", "queue", "pool"),
    *("priority_weight", "scheduled_at", "queued_at", "start_date", "end_date", "duration", "hostname", "pid"),
    *("external_executor_id", "infra_losses", "waiting_on", "suspicion"),
]


def test_trigger_and_wait(standalone):
    standalone.write_dag("two", TWO)
    standalone.wait_for_dag("failing")
    words = ("dags", "trigger", "two", "--run-id", "r1", "--logical-date", "2026-01-02T03:04:05+02:00")
    run = standalone.json(*words, "--conf", '{"a": 1}', "--wait")
    assert list(run) == RUN_KEYS
    assert run | {"start_date": 0, "end_date": 0} == {
        "dag_id": "two",
        "run_id": "r1",
        "state": "success",
        "logical_date": "2026-01-02T01:04:05.000000+00:00",
        "start_date": 0,
        "end_date": 0,
    }
    assert MOMENT.fullmatch(run["start_date"])
    assert run["start_date"] < run["end_date"]
    again = standalone.hybrid(*words, code=1)
    assert again.err == "hybrid: DAG two already has a run r1; choose another --run-id\n"
    failed = standalone.json("dags", "trigger", "failing", "--wait", code=1)
    assert failed["state"] == "failed"
    unwaited = standalone.json("dags", "trigger", "two")
    assert unwaited["state"] in {"queued", "running", "success"}
    assert unwaited["logical_date"] is not None, "without --logical-date it is the moment of the trigger"


def test_states_for_dag_run(standalone):
    standalone.write_dag("two", TWO)
    standalone.run_to_end("two", "--run-id", "r1")
    records = standalone.json("tasks", "states-for-dag-run", "two", "r1")
    assert [list(record) for record in records] == [STATE_KEYS, STATE_KEYS]
    one, two = sorted(records, key=lambda record: record["task_id"])
    for record in (one, two):
        times = [record[key] for key in ("scheduled_at", "queued_at", "start_date", "end_date")]
        assert times == sorted(times)
        assert all(MOMENT.fullmatch(time) for time in times)
        length = datetime.fromisoformat(times[3]) - datetime.fromisoformat(times[2])
        assert record["duration"] == length.total_seconds()
        assert isinstance(record["pid"], int)
        assert record["hostname"]
        assert record | dict.fromkeys(STATE_KEYS[8:16]) | {"executor_reason": None} == {
            **dict.fromkeys(STATE_KEYS),
            "task_id": record["task_id"],
            "map_index": -1,
            "try_number": 1,
            "state": "success",
            "executor": "heavy" if record is two else "LocalExecutor",
            "queue": "default" if record is two else "q",
            "pool": "default_pool",
            "infra_losses": 0,
        }
    assert one["end_date"] <= two["start_date"]
    assert (one["priority_weight"], two["priority_weight"]) == (4, 1)
    assert "got ééé" in standalone.hybrid("tasks", "logs", "two", "r1", "two").out


def test_lists(standalone):
    path = standalone.write_dag("two", TWO)
    standalone.wait_for_dag("failing")
    assert standalone.json("dags", "list") == [
        {"dag_id": "failing", "is_paused": False, "schedule": "None", "fileloc": str(path), "tags": []},
        {"dag_id": "two", "is_paused": False, "schedule": "None", "fileloc": str(path), "tags": ["x"]},
    ]
    standalone.run_to_end("two", "--run-id", "r1")
    assert [run["run_id"] for run in standalone.json("dags", "list-runs", "two")] == ["r1"]
    assert [task["task_id"] for task in standalone.json("tasks", "list", "two")] == ["one", "two"]


def test_executors_list_has_live_figures_only_while_a_scheduler_lives(deployment):
    def listed():
        return {record["name"]: record for record in deployment.json("executors", "list")}

    keys = ["name", "class", "is_default", "parallelism", "open_slots", "queued", "running", "health", "reason"]
    keys += ["is_local", "serve_logs", "is_production", "is_single_threaded", "change_sensor_mode_to_reschedule"]
    keys += ["supports_pickling", "supports_sentry"]
    before = listed()
    assert [list(record) for record in before.values()] == [keys, keys]
    assert [record["open_slots"] for record in before.values()] == [None, None]
    daemon = deployment.standalone()
    gate = deployment.home / "gate"
    deployment.write_dag(
        "busy",
        "import os, time\nfrom runtime import DAG, task\n"
        "with DAG('busy'):\n"
        "    @task(executor='heavy')\n"
        f"    def waits(n):\n        while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "    for n in range(2): waits(n)\n",
    )
    run = deployment.trigger("busy")
    busy = wait_until(lambda: [r for r in listed().values() if r["running"] == 2], "two running tasks")[0]
    assert busy == {
        "name": "heavy",
        "class": "LocalExecutor",
        "is_default": False,
        "parallelism": 2,
        "open_slots": 0,
        "queued": 0,
        "running": 2,
        "health": "healthy",
        "reason": None,
        "is_local": True,
        "serve_logs": True,
        "is_production": True,
        "is_single_threaded": False,
        "change_sensor_mode_to_reschedule": False,
        "supports_pickling": False,
        "supports_sentry": False,
    }
    assert listed()["LocalExecutor"]["open_slots"] == 4
    gate.touch()
    assert deployment.wait_for_run("busy", run) == "success"
    wait_until(lambda: listed()["heavy"]["open_slots"] == 2, "free slots")
    daemon.stop()
    assert listed()["heavy"]["open_slots"] is None


def test_import_errors_are_listed_and_disturb_nobody(standalone):
    broken = standalone.write_dag("broken", "from runtime import DAG\nraise RuntimeError('the reason')\n")
    wait_until(lambda: standalone.query("SELECT 1 FROM import_error"), "an import error")
    (error,) = standalone.json("dags", "list-import-errors", code=1)
    assert list(error) == ["filepath", "error"]
    assert error["filepath"] == str(broken)
    assert "the reason" in error["error"]
    standalone.write_dag("two", TWO)
    standalone.run_to_end("two")
    standalone.write_dag("broken", "")
    wait_until(lambda: not standalone.query("SELECT 1 FROM import_error"), "no import error")
    assert standalone.json("dags", "list-import-errors") == []


FOREGROUND = """
from runtime import DAG, task
with DAG("foreground"):
    @task
    def here(ds=None): print("the day is", ds); return ds
    @task(executor="heavy")
    def there(day): print("heavy got", day)
    there(here())
with DAG("failing"):
    @task
    def breaks(): raise ValueError("on purpose")
    @task
    def after(): pass
    breaks() >> after()
"""


def test_dags_test_runs_in_the_foreground_and_honours_executors(deployment):
    deployment.write_dag("foreground", FOREGROUND)
    deployment.hybrid("db", "migrate")
    done = deployment.hybrid("dags", "test", "foreground", "2026-03-04")
    assert done.out.strip().endswith("foreground: success")
    ended = [line.split()[2:6] for line in done.out.splitlines() if " success " in line]
    assert ended == [["here", "try", "1", "LocalExecutor"], ["there", "try", "1", "heavy"]]
    (log,) = deployment.home.glob("logs/dag_id=foreground/*/task_id=there/attempt=1.log")
    assert "heavy got 2026-03-04" in log.read_text()
    assert deployment.query("SELECT 1 FROM dag_run") == []  # it leaves the deployment's own database alone
    failed = deployment.hybrid("dags", "test", "failing", code=1)
    assert "failing: failed" in failed.out
    assert "on purpose" in failed.out + failed.err
