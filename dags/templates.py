"""Templates: the run's dates, parameters and XComs, filled in when the task runs."""

from datetime import datetime

from runtime import DAG, BashOperator, task

with DAG(
    "templates",
    schedule="@daily",
    start_date=datetime(2025, 1, 1),
    params={"city": "Lisbon"},
    tags=["example"],
):

    @task
    def measure(city: str, day: str) -> dict:
        return {"city": city, "day": day, "degrees": 21}

    measured = measure("{{ params.city }}", "{{ ds }}")
    measured >> BashOperator(
        task_id="tell",
        bash_command="""
            echo "It was {{ ti.xcom_pull(task_ids='measure').degrees }} degrees in {{ params.city }}"
            {% if dag_run.run_type == "manual" %}echo "(somebody asked)"{% endif %}
            echo "interval: {{ data_interval_start | ts_nodash }} to {{ data_interval_end | ts_nodash }}"
        """,
    )
