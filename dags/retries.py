"""Retries: the first try fails on purpose, the second one succeeds two seconds later."""

from datetime import timedelta

from runtime import DAG, task

with DAG("retries", default_args={"retries": 2, "retry_delay": timedelta(seconds=2)}, tags=["example"]):

    @task
    def flaky(ti=None) -> str:
        if ti.try_number == 1:
            raise RuntimeError("the first try always fails")
        return f"succeeded in try {ti.try_number}"

    @task(execution_timeout=timedelta(minutes=1))
    def done(message: str) -> None:
        print(message)

    done(flaky())
