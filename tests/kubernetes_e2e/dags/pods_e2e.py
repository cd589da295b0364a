"""What the end-to-end tests run in pods; `HYBRID_TEST_IMAGE` must hold this file in its DAGs folder."""

import os
import time

from runtime import DAG, task

NOT_FOR_PODS = {"HYBRID__DATABASE__SQL_ALCHEMY_CONN", "HYBRID__API_AUTH__JWT_SECRET", "HYBRID_START_TICKET"}


@task(executor="k8s")
def host() -> str:
    print("in pod", os.uname().nodename)
    return os.uname().nodename


with DAG("e2e_halves"):

    @task(executor="LocalExecutor")
    def numbers() -> list[int]:
        return [1, 2, 3]

    @task(executor="k8s")
    def total(values: list[int]) -> int:
        print("total of", values)
        return sum(values)

    @task(executor="LocalExecutor")
    def double(value: int) -> int:
        print("double of", value)
        return 2 * value

    double(total(numbers()))

with DAG("e2e_override"):

    @task(
        executor="k8s",
        executor_config={
            "pod_override": {
                "metadata": {"labels": {"team": "blue"}, "annotations": {"why": "a test"}},
                "spec": {"containers": [{"name": "base", "env": [{"name": "COLOUR", "value": "blue"}]}]},
            }
        },
    )
    def tells() -> list[str]:
        print("colour", os.environ["COLOUR"])
        return sorted(NOT_FOR_PODS & set(os.environ))

    tells()

with DAG("e2e_wrong"):
    good = host.override(task_id="good")()
    wrong = host.override(
        task_id="wrong", executor_config={"pod_override": {"spec": {"nodeSelektor": {"disk": "ssd"}}}}
    )()

with DAG("e2e_fails"):

    @task(executor="k8s", retries=1, retry_delay=0)
    def fails() -> None:
        print("about to fail")
        raise RuntimeError("as it should")

    fails()

with DAG("e2e_dies"):

    @task(executor="k8s", retries=1, retry_delay=0)
    def dies() -> None:
        """The supervisor is process 1 of a pod, which only the kernel can kill; this one kills its own process."""
        os.abort()

    dies()

with DAG("e2e_slow"):

    @task(executor="k8s")
    def slow() -> str:
        print("slow begins", flush=True)
        time.sleep(8)
        return "done"

    slow()
