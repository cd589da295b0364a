"""``make demo-kubernetes``: as ``make demo``, with pods, and without a cluster.

One DAG runs half on LocalExecutor, half in pods, and its halves hand their values to each other. The API server is the
one that the tests are made with: it speaks Kubernetes' protocol to the real client, and its pods are processes here,
which have nothing of this one's environment, as in a container.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from demo import PATIENCE, ROOT, hybrid, perform, seconds, show

sys.path.insert(0, str(ROOT))

from tests.kubernetes_api import FakeCluster

DAG = "halves"
DAGS = ROOT / "deploy" / "kind" / "dags"
CONFIG = f"""\
[core]
executor = LocalExecutor, k8s:KubernetesExecutor
dags_folder = {DAGS}

[local_executor]
parallelism = 4

[kubernetes_executor]
in_cluster = False
config_file = {{kubeconfig}}
worker_container_repository = not-looked-at

[api]
# Any free one, as below: the demo may run beside a deployment.
port = 0

[logging]
worker_log_server_port = 0
"""


def main() -> int:
    """Run it; 0 when the run succeeded and no pod is left."""
    with tempfile.TemporaryDirectory(prefix="hybrid-demo-") as name:
        folder = Path(name)
        image = {"HYBRID_HOME": str(folder / "home"), "HYBRID__CORE__DAGS_FOLDER": str(DAGS)}
        with FakeCluster(in_process=True, env=image) as cluster:
            print(f"a Kubernetes API for tests, in a process of its own: {cluster.url}")
            config = CONFIG.format(kubeconfig=cluster.kubeconfig(folder / "kubeconfig"))
            return perform(config, DAG, partial(run_and_report, cluster))


def run_and_report(cluster: FakeCluster) -> int:
    print(hybrid("executors", "list").stdout)
    done = hybrid("dags", "trigger", DAG, "--wait", "-o", "json")
    if not done.stdout:
        return 1
    run = json.loads(done.stdout)
    states = json.loads(hybrid("tasks", "states-for-dag-run", DAG, run["run_id"], "-o", "json").stdout)
    show(states)
    print("Pods")
    for row in states:
        if row["executor"] == "k8s":
            print(f"  {row['task_id']:<17}{row['external_executor_id']}")
    for task in ("compare", "compare_there"):
        print(hybrid("tasks", "logs", DAG, run["run_id"], task).stdout)
    print(f"run {run['run_id']}: {run['state']} in {seconds(run['start_date'], run['end_date']):.1f} s")
    left = pods_left(cluster)
    print(f"pods created: {cluster.counters()['create pods']}, left: {len(left)}")
    return done.returncode or bool(left)


def pods_left(cluster: FakeCluster) -> list[str]:
    """Names of pods that are not gone within ``PATIENCE`` seconds; usually none, and at once."""
    deadline = time.monotonic() + PATIENCE
    while (pods := cluster.pods()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [pod["metadata"]["name"] for pod in pods]


if __name__ == "__main__":
    sys.exit(main())
