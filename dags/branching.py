"""Branches: what is not followed is skipped, and a join that goes on when some of it ran."""

from runtime import DAG, BranchPythonOperator, EmptyOperator, Label, LatestOnlyOperator, Param, task

with DAG(
    "branching",
    params={"rows": Param(120, type="integer", minimum=0, description="how many rows the source has")},
    tags=["example"],
):

    @task
    def count(params) -> int:
        return params["rows"]

    @task.branch
    def choose(rows: int) -> str:
        """Which way for so many rows?"""
        if rows == 0:
            return "nothing"
        return "in_bulk" if rows > 100 else "one_by_one"

    @task.short_circuit
    def is_small(rows: int) -> bool:
        return rows < 50

    @task.bash
    def in_bulk(rows: int) -> str:
        return f"echo loading {rows} rows of {{{{ ds }}}}"

    one_by_one = EmptyOperator(task_id="one_by_one")
    nothing = EmptyOperator(task_id="nothing")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")

    rows = count()
    way = choose(rows)
    loaded = in_bulk(rows)
    way >> Label("many rows") >> loaded
    way >> Label("a few rows") >> one_by_one
    way >> Label("no row") >> nothing
    [loaded, one_by_one, nothing] >> join
    join >> is_small(rows) >> EmptyOperator(task_id="by_mail")
    join >> LatestOnlyOperator(task_id="newest_only") >> EmptyOperator(task_id="refresh_dashboard")
    both = BranchPythonOperator(task_id="both", python_callable=lambda: ["left", "right"])
    join >> both >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right")]
