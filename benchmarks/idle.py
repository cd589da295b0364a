"""A deployment as it comes, with the example DAGs: how soon it is there, and what it costs when nothing happens."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from sqlalchemy import func, select

from benchmarks.deployment import Deployment, deployed
from benchmarks.figures import Figure, significant
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, cpu_seconds, environment, hybrid, pss_mib, tree
from runtime.core.clock import SECOND
from runtime.db.schema import task_instance

EXAMPLES = ROOT / "dags"
HELLO = "hello"


def startup(plan: Plan) -> Iterator[Figure]:
    """From an empty folder to ready, and to the first green task; then the shortest command there is."""
    ready, green = [], []
    for _ in range(1 + plan.sizes.repeats):
        with plan.folder("startup") as home, deployed(home, dags=EXAMPLES) as deployment:
            ready.append(deployment.ready_seconds)
            green.append(_first_green(deployment))
    yield Figure("startup.ready", "standalone, fresh home: ready", "s", tuple(ready[1:]))
    yield Figure("startup.first_green", "  first green task", "s", tuple(green[1:]))
    calls = tuple(_version_call() for _ in range(1 + plan.sizes.version_calls))
    yield Figure("startup.version", "hybrid version", "ms", calls[1:])


def idle(plan: Plan) -> Iterator[Figure]:
    """CPU and memory of the whole tree of processes after one run, when all has settled."""
    sizes = plan.sizes
    with plan.folder("idle") as home, deployed(home, dags=EXAMPLES) as deployment:
        _first_green(deployment)
        time.sleep(sizes.settle_seconds)
        root = deployment.process.pid
        cpu, pss, by_role = [], [], []
        for _ in range(sizes.idle_windows):
            spent = _spent_in(root, sizes.idle_seconds)
            by_role.append({role: significant(100 * seconds) for role, seconds in spent.items()})
            cpu.append(100 * sum(spent.values()))
            pss.append(pss_mib(root))
        details = {"seconds": sizes.idle_seconds, "processes": len(tree(root)), "cpu_percent_by_role": by_role}
        yield Figure("idle.cpu", f"idle CPU over {sizes.idle_seconds:g} s, whole tree", "%", tuple(cpu), details)
        yield Figure("idle.pss", "  PSS, whole tree", "MiB", tuple(pss), details)


def _spent_in(root: int, seconds: float) -> dict[str, float]:
    """CPU seconds per second, by role."""
    before, began = cpu_seconds(root), time.monotonic()
    time.sleep(seconds)
    after, passed = cpu_seconds(root), time.monotonic() - began
    return {role: (after[role] - before.get(role, 0.0)) / passed for role in after}


def _first_green(deployment: Deployment) -> float:
    """Seconds from the start of the deployment to the end of its first task; triggered as soon as there is a DAG."""
    deployment.wait_for_dags(HELLO)
    deployment.unpause(HELLO)
    (run,) = deployment.run(HELLO)
    query = select(func.min(task_instance.c.end_date)).where(task_instance.c.dag_run_id == run)
    with deployment.database.read() as connection:
        ended: int = connection.execute(query).scalar_one()
    return (ended - deployment.started_at) / SECOND


def _version_call() -> float:
    """Milliseconds from the fork to the reaped end of ``hybrid version``."""
    began = time.perf_counter()
    subprocess.run(hybrid("version"), env=environment(), stdout=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - began)
