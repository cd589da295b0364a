"""What is to be run: DAGs of several shapes, the moments at which their runs arrive, and how each must end."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.simulation.clock import chances, moment_of
from benchmarks.simulation.launches import RETRY_DELAY
from benchmarks.simulation.profiles import Profile
from executors.workload import TaskInstanceKey
from runtime.core.specs import DagSpec, TaskSpec

SHORTEST = 30.0
"""Seconds in which runs arrive, at least: so long, the sick executors are sick for most of it."""
POOLS = {"narrow": 0.06, "tight": 0.02}
"""Share of the tasks that use each; it has slots for nine tenths of what they need."""
LARGEST_DAG, MOST_OF_A_DAG = 25, 10
"""No DAG has more than one in so many of the tasks, and all its runs together more than one in so many."""
CHAINED, ROUTED = 0.2, 0.1
"""Share of the tasks that name a second executor, and of those that name none and are routed by their queue."""
FAILS, CRASHES, REFUSED = 0.02, 0.003, 0.001
"""Of the tries, by the task's own fault."""
_EMPTY = 0.01
_ALL_DONE = 0.05


@dataclass(frozen=True, slots=True)
class Expected:
    """How a task instance must end: each try that its own code fails is charged, and nothing else."""

    state: str
    tries: int


@dataclass(frozen=True, slots=True)
class Arrival:
    at: int
    dag_id: str
    run_id: str


@dataclass
class Workload:
    """``specs`` by DAG id, ``arrivals`` by moment, ``pools`` with their slots."""

    seed: int
    span: float
    """Seconds within which runs arrive."""
    specs: dict[str, DagSpec] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    pools: dict[str, int] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Task instances of all runs."""
        runs = Counter(arrival.dag_id for arrival in self.arrivals)
        return sum(len(self.specs[dag_id].tasks) * count for dag_id, count in runs.items())

    def outcome(self, key: TaskInstanceKey) -> str:
        """What the task's own code does in this try."""
        return _outcome(self.seed, key.dag_id, key.run_id, key.task_id, key.try_number)

    def expected(self, dag_id: str, run_id: str) -> dict[str, Expected]:
        """By task id, worked out from the graph alone. No task is skipped: then the order of events would count."""
        found: dict[str, Expected] = {}
        for spec in self.specs[dag_id].tasks:
            good = all(found[name].state == "success" for name in spec.upstream)
            if spec.trigger_rule == "all_success" and not good:
                found[spec.task_id] = Expected("upstream_failed", 0)
            elif spec.empty:
                found[spec.task_id] = Expected("success", 0)
            else:
                found[spec.task_id] = self._run(dag_id, run_id, spec)
        return found

    def expected_run(self, dag_id: str, expected: dict[str, Expected]) -> str:
        """The state of its leaves."""
        specs = self.specs[dag_id].tasks
        inner = {name for spec in specs for name in spec.upstream}
        good = all(expected[spec.task_id].state == "success" for spec in specs if spec.task_id not in inner)
        return "success" if good else "failed"

    def _run(self, dag_id: str, run_id: str, spec: TaskSpec) -> Expected:
        for number in range(1, spec.retries + 2):
            if _outcome(self.seed, dag_id, run_id, spec.task_id, number) == "success":
                return Expected("success", number)
        return Expected("failed", spec.retries + 1)


def make_workload(tasks: int, profiles: Sequence[Profile], seed: int) -> Workload:
    """Runs of exactly ``tasks`` task instances, for which the executors have room as their profiles say."""
    rate = sum(profile.rate for profile in profiles)
    made = Workload(seed, max(SHORTEST, tasks / rate))
    source = random.Random(seed)
    place = _Placer(profiles, tasks / made.span, source)
    left, largest, most = tasks, max(10, tasks // LARGEST_DAG), max(20, tasks // MOST_OF_A_DAG)
    while left:
        number = len(made.specs)
        spec = _make_dag(f"dag{number:05}", min(left, largest), place, source)
        runs = min(min(left, most) // len(spec.tasks), source.randint(1, 2 * spec.max_active_runs))
        left -= runs * len(spec.tasks)
        made.specs[spec.dag_id] = spec
        begin = source.random() ** 2 * made.span
        moments = (moment_of(begin + (made.span - begin) * source.random()) for _ in range(runs))
        made.arrivals += [Arrival(at, spec.dag_id, f"run{n:04}") for n, at in enumerate(sorted(moments))]
    made.arrivals.sort(key=lambda arrival: (arrival.at, arrival.dag_id, arrival.run_id))
    made.pools = {name: _pool_slots(made, name, place.hold) for name in POOLS}
    return made


class _Placer:
    """Gives tasks their executor, so that each gets the share that it has room for."""

    def __init__(self, profiles: Sequence[Profile], rate: float, source: random.Random) -> None:
        self._names = [profile.name for profile in profiles]
        fixed = {p.name: min(0.5, p.rate / rate) for p in profiles if p.load > 1}
        others = sum(p.rate for p in profiles if p.load <= 1)
        left = 1.0 - sum(fixed.values()) if others else 1.0
        self._weights = [fixed.get(p.name, left * p.rate / (others or 1.0)) for p in profiles]
        self._source = source
        self.hold = sum(w * p.hold for w, p in zip(self._weights, profiles, strict=True)) / sum(self._weights)
        """Mean seconds that a task needs a slot."""

    def __call__(self, task_id: str, upstream: tuple[str, ...]) -> TaskSpec:
        source = self._source
        executor, kind = source.choices(self._names, self._weights)[0], source.random()
        chain = tuple(name for name in source.choices(self._names, k=1) if name != executor)
        routed = CHAINED <= kind < CHAINED + ROUTED
        drawn = source.random()
        pool = "narrow" if drawn < POOLS["narrow"] else "tight" if drawn > 1 - POOLS["tight"] else "default_pool"
        return TaskSpec(
            task_id,
            "@task",
            upstream=upstream,
            trigger_rule="all_done" if source.random() < _ALL_DONE else "all_success",
            retries=source.choice((0, 1, 2)),
            retry_delay=RETRY_DELAY,
            pool=pool,
            pool_slots=source.randint(1, 2) if pool == "tight" else 1,
            priority_weight=source.randint(1, 10),
            queue=f"for-{executor}" if routed else "default",
            executor=None if routed else executor,
            executor_fallback=chain if kind < CHAINED else (),
            executor_source=None if routed else "task",
            empty=source.random() < _EMPTY,
        )


def routes(profiles: Sequence[Profile]) -> str:
    """``[core] executor_routes``: each executor has a queue."""
    return "; ".join(f"queue=for-{profile.name} -> {profile.name}" for profile in profiles)


def is_unhindered(dag: DagSpec, task: TaskSpec) -> bool:
    """Whether nothing but its one executor decides when it goes there, once it is ready."""
    return task.pool == "default_pool" and not task.executor_fallback and dag.max_active_tasks >= len(dag.tasks)


def _make_dag(dag_id: str, most: int, place: Callable[..., TaskSpec], source: random.Random) -> DagSpec:
    shape = source.choice((_fan, _layers, _chains))
    tasks: list[TaskSpec] = []
    for number, upstream in enumerate(shape(source)):
        if number == most:
            break
        tasks.append(place(f"t{number:04}", tuple(f"t{other:04}" for other in upstream)))
    limited = source.random() < 0.2
    return DagSpec(
        dag_id,
        tuple(tasks),
        max_active_runs=source.choice((1, 2, 4, 16)),
        max_active_tasks=16 if limited else len(tasks),
    )


def _fan(source: random.Random) -> Iterator[tuple[int, ...]]:
    """One task, many behind it, one behind all of them."""
    width = source.randint(20, 300)
    yield ()
    for _ in range(width):
        yield (0,)
    yield tuple(range(1, width + 1))


def _layers(source: random.Random) -> Iterator[tuple[int, ...]]:
    """Each task waits for two of the layer above."""
    width, depth = source.randint(5, 40), source.randint(3, 8)
    for number in range(width * depth):
        above, place = number // width * width - width, number % width
        yield () if above < 0 else tuple(sorted({above + place, above + (place + 1) % width}))


def _chains(source: random.Random) -> Iterator[tuple[int, ...]]:
    """Side by side, not connected."""
    count, length = source.randint(4, 20), source.randint(4, 8)
    for number in range(count * length):
        yield () if number < count else (number - count,)


def _outcome(seed: int, *task_and_try: object) -> str:
    chance = chances(seed, "outcome", *task_and_try)[0]
    for outcome, share in (("failed", FAILS), ("crashed", CRASHES), ("refused", REFUSED)):
        if chance < share:
            return outcome
        chance -= share
    return "success"


def _pool_slots(workload: Workload, pool: str, hold: float) -> int:
    """Nine tenths of what its tasks need at once on average, while runs arrive."""
    need: defaultdict[str, int] = defaultdict(int)
    for spec in workload.specs.values():
        need[spec.dag_id] = sum(task.pool_slots for task in spec.tasks if task.pool == pool)
    slots = sum(need[arrival.dag_id] for arrival in workload.arrivals)
    return max(4, math.ceil(0.9 * slots * hold / workload.span))
