"""One DAG starts a run of another with a ``conf``, waits for it, and goes on."""

from runtime import DAG, Param, TriggerDagRunOperator, task

with DAG("trigger_dag_run", tags=["example"]):

    @task
    def after() -> None:
        print("the other run has succeeded")

    (
        TriggerDagRunOperator(
            task_id="start",
            trigger_dag_id="triggered_dag",
            conf={"greeting": "from {{ run_id }}"},
            wait_for_completion=True,
            poke_interval=0.5,
        )
        >> after()
    )

with DAG(
    "triggered_dag",
    params={"greeting": Param("nobody asked", type="string", minLength=1)},
    render_template_as_native_obj=True,
    user_defined_macros={"shout": str.upper},
    tags=["example"],
):

    @task
    def greet(words: str, number: int) -> str:
        return f"{words} {number + 1}"

    greet("{{ shout(params.greeting) }}", "{{ 41 }}")
