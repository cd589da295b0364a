"""Setup and teardown: a cluster that is made, used and always taken away again."""

from runtime import DAG, Param, setup, task, teardown

with DAG("setup_teardown", params={"fail": Param(False, type="boolean")}, tags=["example"]):

    @setup
    def create_cluster() -> str:
        return "cluster-1"

    @teardown
    def delete_cluster(name: str) -> None:
        print("deleting", name)

    @task
    def query(name: str, number: int, params=None) -> int:
        if params["fail"] and number == 2:
            raise RuntimeError("as asked for")
        return number

    cluster = create_cluster()
    with delete_cluster(cluster).as_teardown(setups=cluster):
        query.override(task_id="first")(cluster, 1) >> query.override(task_id="second")(cluster, 2)
