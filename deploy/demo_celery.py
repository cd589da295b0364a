"""``make demo-celery``: as ``make demo``, with a Redis and a Celery worker that nobody had to install or start.

One DAG runs half on LocalExecutor, half on CeleryExecutor, and its halves hand their values to each other.
"""

from __future__ import annotations

import json
import sys

from demo import ROOT, hybrid, perform, seconds, show

DAG = "halves"
CONFIG = f"""\
[core]
executor = LocalExecutor, CeleryExecutor
dags_folder = {ROOT / "deploy" / "compose" / "dags"}

[local_executor]
parallelism = 4

[api]
# Any free one, as below: the demo may run beside a deployment.
port = 0

[logging]
worker_log_server_port = 0
"""


def main() -> int:
    """Run it; 0 when the run succeeded."""
    return perform(CONFIG, DAG, run_and_report, "--with-celery")


def run_and_report() -> int:
    print(hybrid("executors", "list").stdout)
    done = hybrid("dags", "trigger", DAG, "--wait", "-o", "json")
    if not done.stdout:
        return 1
    run = json.loads(done.stdout)
    states = json.loads(hybrid("tasks", "states-for-dag-run", DAG, run["run_id"], "-o", "json").stdout)
    show(states)
    for task in ("compare", "compare_there"):
        print(hybrid("tasks", "logs", DAG, run["run_id"], task).stdout)
    print(f"run {run['run_id']}: {run['state']} in {seconds(run['start_date'], run['end_date']):.1f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
