"""Runs that wait for each other, and tasks that hold back.

Trigger it several times: ``load`` starts when it, and ``check`` after it, have succeeded in the run before; of
``call_api`` two run at once, whatever the number of runs; after three failed runs in a row the DAG is paused.
``hybrid tasks why`` says what a task waits for. ``hybrid backfill create --dag-id one_after_another --from-date …
--to-date …`` makes runs of the past.
"""

from datetime import datetime, timedelta

from runtime import DAG, task

with DAG(
    "one_after_another",
    schedule="@daily",
    start_date=datetime(2025, 1, 1),
    max_consecutive_failed_dag_runs=3,
    dagrun_timeout=timedelta(hours=1),
    tags=["example"],
):

    @task(max_active_tis_per_dag=2, retries=5, retry_exponential_backoff=True, max_retry_delay=timedelta(minutes=10))
    def call_api() -> int:
        return 42

    @task(wait_for_downstream=True)
    def load(answer: int) -> int:
        return answer + 1

    @task(depends_on_past=True, max_active_tis_per_dagrun=1)
    def check(total: int) -> bool:
        return total == 43

    check(load(call_api()))
