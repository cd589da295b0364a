"""The scheduler alone, with an executor that does nothing: speed, growth with the size of a DAG, memory."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, significant, summary
from benchmarks.plan import Plan
from benchmarks.processes import run_json

Run = tuple[str, int]
"""Shape and number of tasks, see :mod:`benchmarks.null_scheduler`."""


def null(plan: Plan) -> Iterator[Figure]:
    """Tasks per second of a DAG without edges and of one with two per task."""
    tasks = plan.sizes.null_tasks
    for shape in ("fan", "layers"):
        measured = _measure(plan, [(shape, tasks)] * (1 + plan.sizes.repeats))[1:]
        rates = tuple(tasks / run["seconds"] for run in measured)
        yield Figure(f"null.{shape}", f"scheduling alone, {tasks:,} tasks, {shape}", "tasks/s", rates)


def large(plan: Plan) -> Iterator[Figure]:
    """Cost per task of a large DAG over that of a small one, from runs side by side."""
    small, big, repeats = plan.sizes.small_dag, plan.sizes.large_dag, plan.sizes.repeats
    small_runs = 10
    one = [("layers", small)] * small_runs + [("layers", big)]
    seconds = [run["seconds"] for run in _measure(plan, one * (1 + repeats))]
    costs = [_costs(seconds[n * len(one) : (n + 1) * len(one)], small, big) for n in range(1, 1 + repeats)]
    details = {"small_us": summary([cost[0] for cost in costs]), "large_us": summary([cost[1] for cost in costs])}
    title = f"cost per task, {big:,} against {small} tasks"
    yield Figure("large.ratio", title, "x", tuple(after / before for before, after in costs), details)


def _costs(seconds: Sequence[float], small: int, big: int) -> tuple[float, float]:
    """Microseconds per task of the small DAG (median of its runs) and of the large one, which is last."""
    return 1e6 * statistics.median(seconds[:-1]) / small, 1e6 * seconds[-1] / big


def memory(plan: Plan) -> Iterator[Figure]:
    """How much the scheduler grows over many runs, the first tenth left out as warm-up."""
    runs, tasks = plan.sizes.memory_runs, plan.sizes.memory_tasks
    warm_up = max(1, runs // 10)
    measured = _measure(plan, [("layers", tasks)] * (warm_up + runs))
    pss = [run["pss_mib"] for run in measured]
    rss = [run["rss_mib"] for run in measured]
    before, after = pss[warm_up - 1], pss[-1]
    details = {
        "pss_mib": [significant(value) for value in pss[warm_up - 1 :]],
        "rss_mib_before": significant(rss[warm_up - 1]),
        "rss_mib_after": significant(rss[-1]),
    }
    title = f"scheduler PSS, growth over {runs * tasks:,} tasks"
    yield Figure("memory.growth", title, "%", (100 * (after / before - 1),), details)
    yield Figure("memory.pss", "  PSS after them", "MiB", (after,))


def _measure(plan: Plan, runs: Sequence[Run]) -> list[dict[str, float]]:
    with plan.folder("null") as home:
        measured: list[dict[str, float]] = run_json(
            "benchmarks.null_scheduler", str(home), json.dumps(runs), scratch=home
        )
    return measured
