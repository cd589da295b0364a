"""A ``pod_override`` as an object of the client, as DAGs for Airflow have it."""

import os

from kubernetes.client import V1Container, V1EnvVar, V1ObjectMeta, V1Pod, V1PodSpec

from runtime import DAG, task

BLUE = V1Pod(
    metadata=V1ObjectMeta(labels={"team": "blue"}),
    spec=V1PodSpec(containers=[V1Container(name="base", env=[V1EnvVar(name="COLOUR", value="blue")])]),
)

with DAG("e2e_v1pod"):

    @task(executor="k8s", executor_config={"pod_override": BLUE})
    def tells() -> str:
        return os.environ["COLOUR"]

    tells()
