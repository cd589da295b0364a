"""Task groups: named and drawn together, nested, with defaults of their own, related as one."""

from runtime import DAG, TaskGroup, chain_linear, task, task_group

with DAG("task_groups", doc_md="Extract from two sources, then load.", tags=["example"]):

    @task(multiple_outputs=True)
    def extract(source: str):
        return {"source": source, "rows": len(source)}

    @task
    def check(rows: int) -> None:
        if rows < 1:
            raise ValueError("no rows")

    @task_group
    def one_source(source: str):
        """Everything about one source."""
        found = extract(source)
        check(found["rows"])

    @task
    def load() -> str:
        return "loaded"

    with TaskGroup("load", default_args={"retries": 2}, tooltip="into the warehouse") as into_warehouse:
        load.override(task_id="dimensions")() >> load.override(task_id="facts")()

    chain_linear([one_source("orders"), one_source("customers")], into_warehouse)
