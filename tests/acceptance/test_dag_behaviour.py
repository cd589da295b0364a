"""What a DAG author is promised, seen from outside: each test writes a DAG file and looks at what its run did."""

from __future__ import annotations

from itertools import pairwise

import pytest
from deployment import wait_until

SPREAD = """
from runtime import DAG, task
with DAG("spread", default_args={"executor": "heavy"}):
    @task(executor="LocalExecutor")
    def light(): return 1
    @task
    def inherited(x): return x + 1
    @task(executor=None)
    def reset(x): return x + 1
    reset(inherited(light()))
with DAG("silent"):
    @task
    def anywhere(): pass
    anywhere()
"""


def test_tasks_run_where_they_say_and_the_reason_is_stored(standalone):
    standalone.write_dag("spread", SPREAD)
    record = standalone.states("spread", standalone.run_to_end("spread"))
    assert {task: r["executor"] for task, r in record.items()} == {
        "light": "LocalExecutor",
        "inherited": "heavy",
        "reset": "LocalExecutor",
    }
    assert "task" in record["light"]["executor_reason"]
    assert "default_args" in record["inherited"]["executor_reason"]
    silent = standalone.states("silent", standalone.run_to_end("silent"))["anywhere"]
    assert silent["executor"] == "LocalExecutor"
    assert silent["executor_reason"].startswith("default")


DATA = """
from runtime import DAG, BashOperator, task
with DAG("data", params={"who": "Ada"}):
    @task
    def source(ti=None):
        ti.xcom_push("other", {"deep": [1, None, "ü"]})
        return {"n": 41, "list": [1, 2]}
    @task
    def sink(value, ti=None):
        assert ti.xcom_pull(task_ids="source", key="other") == {"deep": [1, None, "ü"]}
        return value["n"] + 1
    shell = BashOperator(
        task_id="shell",
        bash_command="echo first; echo {{ params.who }} {{ ti.xcom_pull(task_ids='sink') }} {{ ds_nodash }} $MORE",
        env={"MORE": "more {{ run_id }}", "PATH": "/usr/bin:/bin"},
    )
    got = source()
    sink(got) >> shell
"""


def test_xcoms_templates_and_bash_work_together(standalone):
    standalone.write_dag("data", DATA)
    run = standalone.run_to_end("data", "--run-id", "one", "--logical-date", "2026-02-03", "--conf", '{"who": "Bob"}')
    assert standalone.xcom(run, "source", "other") == {"deep": [1, None, "ü"]}
    assert standalone.xcom(run, "sink") == 42
    assert standalone.xcom(run, "shell") == "Bob 42 20260203 more one"
    log = standalone.hybrid("tasks", "logs", "data", "one", "shell").out
    assert "first" in log
    assert "Bob 42 20260203 more one" in log


RULES = """
from runtime import DAG, BashOperator, EmptyOperator, task
with DAG("rules"):
    @task
    def good(): pass
    @task
    def bad(): raise ValueError("on purpose")
    skip = BashOperator(task_id="skip", bash_command="exit 99", trigger_rule="all_done")
    broken = bad()
    broken >> skip  # a skip before the failure would be passed on at once, as in Airflow
    parents = [good(), broken, skip]
    for rule in ("all_success", "all_failed", "all_done", "one_success", "one_failed", "none_failed", "none_skipped",
                 "one_done", "none_failed_min_one_success", "always"):
        parents >> EmptyOperator(task_id=rule, trigger_rule=rule)
    parents >> EmptyOperator(task_id="middle") >> EmptyOperator(task_id="end", trigger_rule="all_done")
"""


def test_trigger_rules_after_a_success_a_failure_and_a_skip(standalone):
    standalone.write_dag("rules", RULES)
    run = standalone.trigger("rules")
    assert standalone.wait_for_run("rules", run) == "failed"
    states = standalone.task_states(run)
    fixed = {"good": "success", "bad": "failed", "skip": "skipped", "middle": "upstream_failed", "end": "success"}
    assert {task: states.pop(task) for task in fixed} == fixed
    assert states == {
        "all_success": "upstream_failed",
        "all_failed": "skipped",
        "all_done": "success",
        "one_success": "success",
        "one_failed": "success",
        "one_done": "success",
        "none_failed": "upstream_failed",
        "none_skipped": "skipped",
        "none_failed_min_one_success": "upstream_failed",
        "always": "success",
    }


RETRIES = """
from datetime import timedelta
from runtime import DAG, task
with DAG("retrying"):
    @task(retries=2, retry_delay=timedelta(seconds=0.2))
    def third_time(ti=None):
        print("this is try", ti.try_number)
        if ti.try_number < 3: raise RuntimeError("not yet")
        return ti.try_number
    third_time()
with DAG("hopeless"):
    @task(retries=1, retry_delay=timedelta(seconds=0.1))
    def never(): raise RuntimeError("never")
    never()
"""


def test_retries_are_counted_and_each_try_has_its_log(standalone):
    standalone.write_dag("retrying", RETRIES)
    run = standalone.run_to_end("retrying")
    assert standalone.states("retrying", run)["third_time"]["try_number"] == 3
    attempts = standalone.attempts(run, "third_time")
    assert [(a["try_number"], a["state"]) for a in attempts] == [(1, "failed"), (2, "failed"), (3, "success")]
    for number in (1, 2, 3):
        log = standalone.hybrid("tasks", "logs", "retrying", run, "third_time", "--try", str(number)).out
        assert f"this is try {number}" in log
        assert ("RuntimeError: not yet" in log) == (number < 3)
    hopeless = standalone.trigger("hopeless")
    assert standalone.wait_for_run("hopeless", hopeless) == "failed"
    assert len(standalone.attempts(hopeless, "never")) == 2


LIMITED = """
import os, time
from runtime import DAG, task
@task(pool="default_pool", pool_slots=64)
def in_pool(n): work()
@task
def in_dag(n): work()
def work():
    deadline = time.monotonic() + 0.15
    while time.monotonic() < deadline: time.sleep(0.01)
with DAG("pooled", max_active_tasks=99):
    for n in range(6): in_pool.override(task_id=f"t{n}", priority_weight=n + 1)(n)
with DAG("narrow", max_active_tasks=1):
    for n in range(4): in_dag.override(task_id=f"t{n}")(n)
"""


@pytest.mark.parametrize(("dag_id", "limit"), [("pooled", 2), ("narrow", 1)])
def test_a_pool_and_a_dag_limit_how_many_run_at_once(standalone, dag_id, limit):
    """128 slots of 64 each: two; ``max_active_tasks``: one."""
    standalone.write_dag("limited", LIMITED)
    run = standalone.run_to_end(dag_id)
    records = standalone.states(dag_id, run).values()
    changes = sorted([(r["queued_at"], 1) for r in records] + [(r["end_date"], -1) for r in records])
    active = [sum(change for _, change in changes[: n + 1]) for n in range(len(changes))]
    assert max(active) == limit
    if dag_id == "pooled":
        assert [r["task_id"] for r in sorted(records, key=lambda r: (r["queued_at"], -r["priority_weight"]))] == [
            f"t{n}" for n in range(5, -1, -1)
        ]


VERSION = """
import os, time
from runtime import DAG, task
with DAG("changing"):
    @task
    def first():
        while not os.path.exists({gate!r}): time.sleep(0.01)
    @task
    def {second}(): return {second!r}
    first() >> {second}()
"""


def test_a_changed_file_applies_to_new_runs_only(standalone):
    gate = standalone.home / "gate"
    standalone.write_dag("changing", VERSION.format(gate=str(gate), second="old"))
    before = standalone.trigger("changing")
    standalone.wait_for_task(before, "first", "running")
    standalone.write_dag("changing", VERSION.format(gate=str(gate), second="new"))
    wait_until(
        lambda: standalone.query("SELECT max(version_number) AS n FROM dag_version")[0]["n"] == 2, "a second version"
    )
    after = standalone.trigger("changing")
    gate.touch()
    assert standalone.wait_for_run("changing", after) == "success"
    standalone.wait_for_run("changing", before)
    assert set(standalone.task_states(before)) == {"first", "old"}
    assert set(standalone.task_states(after)) == {"first", "new"}


SCHEDULED = """
from datetime import datetime
from runtime import DAG, task
with DAG("weekly", schedule="@weekly", start_date=datetime(2025, 1, 5), end_date=datetime(2025, 2, 2),
         catchup={catchup}, max_active_runs=1, is_paused_upon_creation={paused}):
    @task
    def when(ds=None, data_interval_end=None): return [ds, data_interval_end.date().isoformat()]
    when()
"""


def test_catchup_makes_every_run_once_in_order(standalone):
    standalone.write_dag("weekly", SCHEDULED.format(catchup=True, paused=False))
    wait_until(lambda: standalone.query("SELECT count(*) AS n FROM dag_run WHERE state = 'success'")[0]["n"] == 5, "5")
    runs = standalone.query("SELECT run_id, start_date, end_date FROM dag_run ORDER BY logical_date")
    days = ["2025-01-05", "2025-01-12", "2025-01-19", "2025-01-26", "2025-02-02", "2025-02-09"]
    assert [standalone.xcom(run["run_id"], "when") for run in runs] == [list(pair) for pair in pairwise(days)]
    assert all(one["end_date"] <= next_one["start_date"] for one, next_one in pairwise(runs))


def test_a_paused_dag_waits_for_unpause(standalone):
    standalone.write_dag("weekly", SCHEDULED.format(catchup=True, paused=True))
    standalone.wait_for_dag("weekly")
    assert standalone.json("dags", "list")[0]["is_paused"] is True
    refused = standalone.hybrid("dags", "trigger", "weekly", code=1)
    assert refused.err.strip() == "hybrid: DAG weekly is paused; run `hybrid dags unpause weekly` first"
    assert standalone.json("dags", "unpause", "weekly") == [{"dag_id": "weekly", "is_paused": False}]
    wait_until(lambda: standalone.query("SELECT 1 FROM dag_run WHERE state = 'success'"), "a run")
    assert standalone.json("dags", "pause", "weekly") == [{"dag_id": "weekly", "is_paused": True}]


PAUSING = """
import os, time
from runtime import DAG, task
with DAG("pausing"):
    @task
    def first():
        while not os.path.exists({gate!r}): time.sleep(0.01)
    @task
    def second(): pass
    first() >> second()
with DAG("other"):
    @task
    def any_task(): pass
    any_task()
"""


def test_pausing_in_mid_run_starts_no_further_task(standalone):
    gate = standalone.home / "gate"
    standalone.write_dag("pausing", PAUSING.format(gate=str(gate)))
    run = standalone.trigger("pausing")
    standalone.wait_for_task(run, "first", "running")
    standalone.hybrid("dags", "pause", "pausing")
    gate.touch()
    standalone.wait_for_task(run, "first", "success")
    standalone.run_to_end("other")  # what the scheduler had to do since, it has done
    assert standalone.attempts(run, "second") == []
    standalone.hybrid("dags", "unpause", "pausing")
    assert standalone.wait_for_run("pausing", run) == "success"


CLEARED = """
import os
from runtime import DAG, task
with DAG("cleared"):
    @task
    def always(): return 1
    @task
    def fragile(): assert os.path.exists({gate!r}), "the gate is closed"
    @task
    def after(): return 3
    always() >> fragile() >> after()
"""


def test_clear_runs_failed_tasks_again(standalone):
    gate = standalone.home / "gate"
    standalone.write_dag("cleared", CLEARED.format(gate=str(gate)))
    run = standalone.trigger("cleared")
    assert standalone.wait_for_run("cleared", run) == "failed"
    assert standalone.task_states(run) == {"always": "success", "fragile": "failed", "after": "upstream_failed"}
    gate.touch()
    done = standalone.hybrid("tasks", "clear", "cleared", "--run-id", run, "--only-failed", "-y")
    assert done.out == "cleared 2 task instances\n"
    assert standalone.wait_for_run("cleared", run) == "success"
    assert len(standalone.attempts(run, "always")) == 1
    assert [a["try_number"] for a in standalone.attempts(run, "fragile")] == [1, 2]


RUNNING = """
import os, time
from runtime import DAG, task
with DAG("endless"):
    @task
    def waits(ti=None):
        while not os.path.exists({gate!r}): time.sleep(0.01)
        return ti.try_number
    waits()
"""


def test_clear_stops_a_running_task_and_starts_it_again(deployment):
    """At once: it does not wait for the task's next heartbeat, which is far away."""
    deployment.configure({"scheduler": {"task_heartbeat_sec": "50"}})
    deployment.standalone()
    gate = deployment.home / "gate"
    deployment.write_dag("endless", RUNNING.format(gate=str(gate)))
    run = deployment.trigger("endless")
    deployment.wait_for_task(run, "waits", "running")
    deployment.hybrid("tasks", "clear", "endless", "--run-id", run, "-y")
    wait_until(lambda: len(deployment.attempts(run, "waits")) == 2, "a second attempt")
    gate.touch()
    assert deployment.wait_for_run("endless", run) == "success"
    first, second = deployment.attempts(run, "waits")
    assert first["ended_at"] <= second["queued_at"]
    assert second["state"] == "success"
