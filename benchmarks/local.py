"""No-op tasks on LocalExecutor in a real deployment: fan-out, chain, many small runs; all times from the metadata DB.

Beside each fan-out runs the skeleton, so that their ratio comes from the same minute of the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from benchmarks import breakdown
from benchmarks.deployment import Deployment, deployed
from benchmarks.figures import Figure, significant, summary
from benchmarks.limits import run_skeleton
from benchmarks.plan import DAGS, Plan, Sizes
from benchmarks.processes import cpu_seconds
from runtime.core.clock import SECOND
from runtime.db.schema import dag_run

_NAMES = ("fan_out", "chain", "many")


@dataclass
class Workload:
    """Measured runs of one DAG in one deployment. The first call of :meth:`go` is the warm-up."""

    deployment: Deployment
    dag_id: str
    tasks: int
    """Of all runs of one repeat."""
    runs: int = 1
    warm_up: float | None = None
    """Seconds from the first trigger to the last end, of the warm-up."""
    makespans: list[float] = field(default_factory=list)
    """The same, of each measured repeat."""
    repeats: list[list[int]] = field(default_factory=list)
    """Row ids of the measured runs."""
    cpu: Counter[str] = field(default_factory=Counter)

    def go(self) -> None:
        """Run it once more."""
        before = cpu_seconds(self.deployment.process.pid)
        runs = self.deployment.run(self.dag_id, self.runs)
        after = cpu_seconds(self.deployment.process.pid)
        seconds = self._makespan(runs)
        if self.warm_up is None:
            self.warm_up = seconds
            return
        self.makespans.append(seconds)
        self.repeats.append(runs)
        self.cpu.update({role: after[role] - before.get(role, 0.0) for role in after})

    @property
    def rates(self) -> tuple[float, ...]:
        """Tasks per second of each repeat."""
        return tuple(self.tasks / seconds for seconds in self.makespans)

    def times(self) -> list[list[breakdown.Times]]:
        """Of the attempts of each repeat."""
        with self.deployment.database.read() as connection:
            return [breakdown.attempt_times(connection, runs) for runs in self.repeats]

    def details(self) -> dict[str, Any]:
        """Breakdown in ms, attempts at once, CPU per task in ms by role, warm-up and makespans in seconds."""
        times = self.times()
        found = breakdown.phases([t for repeat in times for t in repeat])
        total = self.tasks * len(self.repeats)
        return {
            "breakdown_ms": {phase: summary(values) for phase, values in found.items() if values},
            "attempts_at_once": summary([breakdown.at_once(repeat) for repeat in times]),
            "cpu_ms_per_task": {role: significant(1000 * spent / total) for role, spent in sorted(self.cpu.items())},
            "makespan_s": summary(self.makespans),
            "warm_up_s": self.warm_up,
        }

    def _makespan(self, runs: list[int]) -> float:
        """From the first trigger's commit to the end of the last task."""
        query = select(func.min(dag_run.c.queued_at)).where(dag_run.c.id.in_(runs))
        with self.deployment.database.read() as connection:
            triggered: int = connection.execute(query).scalar_one()
            times = breakdown.attempt_times(connection, runs)
        if len(times) != self.tasks:
            raise ValueError(f"{len(times)} of {self.tasks} tasks of {self.dag_id} have ended")
        return (max(t.ended for t in times) - triggered) / SECOND


def local(plan: Plan) -> Iterator[Figure]:
    """Fan-out, chain and many runs with ``parallelism`` as shipped."""
    sizes = plan.sizes
    with _bench(plan, "local", {}) as deployment:
        fan_out = Workload(deployment, "fan_out", sizes.fan_out)
        chain = Workload(deployment, "chain", sizes.chain)
        many = Workload(deployment, "many", sizes.many_runs * sizes.many_tasks, sizes.many_runs)
        skeleton: list[tuple[float, float]] = []
        for _ in range(1 + sizes.repeats):
            fan_out.go()
            skeleton.append(run_skeleton(plan, deployment.home))
            chain.go()
            many.go()
        rates, cpu = zip(*skeleton[1:], strict=True)
        ratios = tuple(100 * rate / bare for rate, bare in zip(fan_out.rates, rates, strict=True))
        yield Figure("local.fan_out", f"fan-out of {fan_out.tasks}", "tasks/s", fan_out.rates, fan_out.details())
        title, details = f"  skeleton of {fan_out.tasks}, beside", {"cpu_ms_per_attempt": summary(cpu)}
        yield Figure("local.skeleton", title, "tasks/s", rates, details)
        yield Figure("local.of_skeleton", "  fan-out of the skeleton", "%", ratios)
        yield Figure("local.chain", f"chain of {chain.tasks}, step", "ms", steps(chain), chain.details())
        title = f"{sizes.many_runs} runs of {sizes.many_tasks}"
        yield Figure("local.many", title, "tasks/s", many.rates, many.details())


def parallelism(plan: Plan) -> Iterator[Figure]:
    """Fan-out with fewer workers than shipped."""
    slots = str(plan.sizes.small_parallelism)
    yield _fan_out(plan, "parallelism", f"parallelism {slots}", {"core.parallelism": slots})


def reuse(plan: Plan) -> Iterator[Figure]:
    """Fan-out without a process per attempt."""
    yield _fan_out(plan, "reuse", "task_isolation reuse", {"local_executor.task_isolation": "reuse"})


def steps(chain: Workload) -> tuple[float, ...]:
    """Milliseconds per step of each repeat: last end - first start, over the number of steps."""
    return tuple(
        (max(t.ended for t in times) - min(t.started for t in times)) / len(times) / breakdown.MILLISECOND
        for times in chain.times()
    )


def _fan_out(plan: Plan, family: str, what: str, options: dict[str, str]) -> Figure:
    with _bench(plan, family, options) as deployment:
        fan_out = Workload(deployment, "fan_out", plan.sizes.fan_out)
        for _ in range(1 + plan.sizes.repeats):
            fan_out.go()
        title = f"fan-out of {fan_out.tasks}, {what}"
        return Figure(f"{family}.fan_out", title, "tasks/s", fan_out.rates, fan_out.details())


@contextmanager
def _bench(plan: Plan, name: str, options: dict[str, str]) -> Iterator[Deployment]:
    options = {"core.dags_are_paused_at_creation": "False", **options}
    with plan.folder(name) as home, deployed(home, dags=DAGS, options=options, sizes=_sizes(plan.sizes)) as deployment:
        deployment.wait_for_dags(*_NAMES)
        yield deployment


def _sizes(sizes: Sizes) -> dict[str, str]:
    return {
        "BENCH_FAN_OUT": str(sizes.fan_out),
        "BENCH_CHAIN": str(sizes.chain),
        "BENCH_MANY": str(sizes.many_tasks),
    }
