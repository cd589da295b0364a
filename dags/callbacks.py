"""Callbacks: who is told what, when a task begins, is tried again, has ended, and when the run has.

Those of tasks write into the task's log; that of the DAG runs in the DAG processor, and writes into ``callbacks.log``
in the folder of the run's logs.
"""

from runtime import DAG, SkipTask, task


def tell(context):
    ti = context["ti"]
    print(f"{ti.task_id}, try {ti.try_number}, is {ti.state}: {context.get('exception') or 'no error'}")


def tell_of_run(context):
    print(f"run {context['run_id']} of {context['dag'].dag_id} has ended: {context['reason']}")


def break_down(context):
    raise RuntimeError(f"nobody could be told of {context['ti'].task_id}")


ALL = {f"on_{what}_callback": tell for what in ("execute", "success", "failure", "retry", "skipped")}

with DAG(
    "callbacks",
    default_args=ALL,
    on_success_callback=tell_of_run,
    on_failure_callback=tell_of_run,
    tags=["example"],
):

    @task(retries=1, retry_delay=1)
    def second_time_lucky(ti=None) -> None:
        if ti.try_number == 1:
            raise RuntimeError("the first try always fails")

    @task(on_success_callback=[tell, break_down])
    def whose_callback_is_broken() -> str:
        return "succeeds all the same"

    @task
    def nothing_to_do() -> None:
        raise SkipTask("there is nothing to do today")

    second_time_lucky() >> whose_callback_is_broken() >> nothing_to_do()
