"""Hello: a Bash task, then a Python task. The smallest DAG worth running."""

from runtime import DAG, BashOperator, task

with DAG("hello", description="The smallest DAG worth running", tags=["example"]):

    @task
    def greet(who: str = "world") -> str:
        greeting = f"Hello, {who}!"
        print(greeting)
        return greeting

    BashOperator(task_id="say_host", bash_command="echo running on $(uname -n)") >> greet()
