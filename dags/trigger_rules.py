"""Trigger rules: what runs after a task that was skipped, and what runs whatever happened."""

from runtime import DAG, EmptyOperator, SkipTask, TriggerRule, task

with DAG("trigger_rules", tags=["example"]):

    @task
    def load() -> int:
        return 1

    @task
    def optional() -> int:
        raise SkipTask("there is nothing to load here")

    sources = [load(), optional()]
    both = EmptyOperator(task_id="needs_both")
    some = EmptyOperator(task_id="needs_one", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    always = EmptyOperator(task_id="clean_up", trigger_rule="all_done")

    sources >> both
    sources >> some
    [both, some] >> always
