"""What authors write, from outside, on a running deployment: branches, setups, params, runs that tasks start."""

from __future__ import annotations

BOTH = """
from runtime import DAG, BashOperator, EmptyOperator, Param, TriggerDagRunOperator, setup, task, teardown
with DAG("parent", params={"way": Param("left", enum=["left", "right"])}):
    @task.branch
    def choose(params): return params["way"]
    @task.short_circuit
    def stop(): return False
    left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    choose() >> [left, right] >> join
    join >> stop() >> BashOperator(task_id="never", bash_command="true") >> EmptyOperator(
        task_id="nor_this", trigger_rule="all_done")
    join >> TriggerDagRunOperator(
        task_id="start", trigger_dag_id="child", trigger_run_id="of_{{ run_id }}", conf={"fail": True},
        wait_for_completion=True, poke_interval=0.1, allowed_states=["failed"], failed_states=["success"])
with DAG("child", params={"fail": Param(False, type="boolean")}):
    @setup
    def make(): return "thing"
    @teardown
    def drop(thing): print("dropped", thing)
    @task
    def use(thing, params=None):
        if params["fail"]: raise RuntimeError("as asked for")
    thing = make()
    with drop(thing): use(thing)
"""
DONE = {
    "choose": "success",
    "left": "success",
    "right": "skipped",
    "join": "success",
    "stop": "success",
    "never": "skipped",
    "nor_this": "skipped",
    "start": "success",
}


def test_branches_setups_params_and_runs_that_tasks_start(standalone):
    standalone.write_dag("both", BOTH)
    run = standalone.run_to_end("parent", "--run-id", "one")
    assert standalone.task_states(run) == DONE
    child = standalone.xcom(run, "start", "trigger_run_id")
    assert standalone.task_states(child) == {"make": "success", "use": "failed", "drop": "success"}
    assert "dropped thing" in standalone.hybrid("tasks", "logs", "child", child, "drop").out
    standalone.hybrid("tasks", "clear", "parent", "--run-id", run, "--task-regex", "^right$", "--yes")
    assert standalone.wait_for_run("parent", run) == "success"
    assert standalone.task_states(run) == DONE, "what a branch did not follow stays skipped"
    bad = standalone.hybrid("dags", "trigger", "parent", "--conf", '{"way": "up"}', code=1)
    assert bad.err.strip() == (
        "hybrid: DAG parent: param 'way' = 'up': 'up' is not one of ['left', 'right'] (rule enum: ['left', 'right'])"
    )
