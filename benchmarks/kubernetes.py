"""KubernetesExecutor on the tests' API server, in a process of its own, whose pods only pretend to run.

So what is measured is what the executor and its client can do, with the answers as slow as a real server's. Then a
whole deployment, ``hybrid standalone`` with ``LocalExecutor, k8s:KubernetesExecutor``, while the API server hangs.
"""

from __future__ import annotations

import importlib.util
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from benchmarks import breakdown
from benchmarks.deployment import Deployment, deployed
from benchmarks.figures import Figure, significant, summary
from benchmarks.plan import DAGS, Plan
from benchmarks.processes import BenchmarkError
from executors.context import ExecutorContext
from executors.events import Accepted, ExecutorEvent, Running
from executors.kubernetes.errors import ClusterUnreachableError
from executors.kubernetes.executor import KubernetesExecutor
from executors.workload import CodeReference, TaskInstanceKey, Workload

if TYPE_CHECKING:
    from tests.kubernetes_api import FakeCluster

SUBMIT_DELAY = 0.008
DISPATCH_DELAY = 0.020
"""Seconds that the server takes for a call."""
_NEVER = "3600"
_HUNG_PODS = 8
_QUEUED = 10
_BEATS = 500
_MILLISECONDS = 1000
_PATIENCE = 60.0
_LOOK = 0.005


def kubernetes(plan: Plan) -> Iterator[Figure]:
    """The executor alone, then a deployment. Raises :class:`BenchmarkError` without the client library."""
    if importlib.util.find_spec("kubernetes") is None:
        raise BenchmarkError("it needs the client library: pip install 'hybrid-runtime[kubernetes]'")
    yield _submit(plan)
    yield _dispatch(plan)
    yield _watch(plan)
    yield from _heartbeat(plan)
    yield from _hang(plan)


# -- the executor alone


class _Driven:
    """An executor and its cluster. Heartbeats come when it asks for them, as the scheduler's do."""

    def __init__(self, cluster: FakeCluster, executor: KubernetesExecutor, woken: threading.Event) -> None:
        self.cluster = cluster
        self.executor = executor
        self.events: list[ExecutorEvent] = []
        self._woken = woken

    def launch(self, count: int) -> None:
        for _ in range(count):
            self.executor.queue_workload(_workload())
        self._woken.set()

    def drive(self, done: Callable[[], bool]) -> None:
        """Heartbeats until then. Raises :class:`BenchmarkError` when it takes longer than a minute."""
        deadline = time.monotonic() + _PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise BenchmarkError(f"no end of it:\n{self.executor.debug_dump()}")
            self._woken.wait(_LOOK)
            self._woken.clear()
            with suppress(ClusterUnreachableError):
                self.executor.heartbeat()
            self.events += self.executor.get_event_buffer()

    def count(self, kind: type[ExecutorEvent]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def beats(self, number: int) -> list[float]:
        """Milliseconds of each."""
        found = []
        for _ in range(number):
            started = time.perf_counter()
            with suppress(ClusterUnreachableError):
                self.executor.heartbeat()
            found.append((time.perf_counter() - started) * _MILLISECONDS)
            time.sleep(_LOOK)
        return found

    def end(self) -> None:
        """Delete all pods."""
        self.cluster.heal()
        self.executor.terminate()
        for thread in threading.enumerate():
            if thread.name == f"{self.executor.name}-closing":
                thread.join(_PATIENCE)


@contextmanager
def _driven(plan: Plan, **more: str) -> Iterator[_Driven]:
    from tests.kubernetes_api import FakeCluster

    with plan.folder("kubernetes") as folder, FakeCluster(in_process=True, kubelet="pretend") as cluster:
        woken = threading.Event()
        options = _options(str(cluster.kubeconfig(folder / "kubeconfig"))) | more
        config = {"task_api_url": "https://api.example"}
        context = ExecutorContext(name="k8s", options=options, worker_config=config, wake=woken.set)
        executor = KubernetesExecutor(0, context=context)
        executor.start()
        made = _Driven(cluster, executor, woken)
        try:
            made.launch(1)  # connections are there, the watch too
            made.drive(lambda: made.count(Running) == 1)
            made.events.clear()
            yield made
        finally:
            made.end()


def _submit(plan: Plan) -> Figure:
    count = plan.sizes.kubernetes_pods
    rates = []
    for _ in range(1 + plan.sizes.repeats):
        with _driven(plan) as made:
            rates.append(count / _submitted(made, count))
    title = f"Kubernetes: {count} pods submitted, {SUBMIT_DELAY * _MILLISECONDS:.0f} ms per call"
    return Figure("kubernetes.submit", title, "pods/s", tuple(rates[1:]))


def _submitted(made: _Driven, count: int) -> float:
    """Seconds until the executor knows that the API server has them all."""
    made.cluster.delay(SUBMIT_DELAY)
    started = time.perf_counter()
    made.launch(count)
    made.drive(lambda: made.count(Accepted) == count)
    return time.perf_counter() - started


def _dispatch(plan: Plan) -> Figure:
    percentiles, every = [], list[float]()
    for _ in range(1 + plan.sizes.repeats):
        with _driven(plan) as made:
            made.cluster.delay(DISPATCH_DELAY)
            found = sorted(_dispatched(made) for _ in range(plan.sizes.kubernetes_dispatches))
            percentiles.append(_percentile(found, 95))
            every += found
    title = f"  dispatch → pod created, {DISPATCH_DELAY * _MILLISECONDS:.0f} ms per call, p95"
    details = {"median": significant(statistics.median(every)), "n": len(every)}
    return Figure("kubernetes.dispatch", title, "ms", tuple(percentiles[1:]), details)


def _dispatched(made: _Driven) -> float:
    """Milliseconds until the executor says that the API server has the pod."""
    made.events.clear()
    started = time.perf_counter()
    made.launch(1)
    made.drive(lambda: made.count(Accepted) == 1)
    return (time.perf_counter() - started) * _MILLISECONDS


def _watch(plan: Plan) -> Figure:
    events, rates = 0, []
    for _ in range(1 + plan.sizes.repeats):
        with _driven(plan) as made:
            events, seconds = _watched(made, plan.sizes.kubernetes_pods)
            rates.append(events / seconds)
    title = f"  {events:,} events of a watch, until the executor has acted on them"
    return Figure("kubernetes.watch", title, "events/s", tuple(rates[1:]))


def _watched(made: _Driven, count: int) -> tuple[int, float]:
    """Pods come to run while the watch is half-open; then a new one brings all that has happened at once.

    The number of events, and the seconds from the request for the new watch.
    """
    made.cluster.mute_watches()
    before = made.cluster.revision()
    made.launch(count)
    made.drive(lambda: made.count(Accepted) == count and _run_all(made.cluster, count + 1))
    events = made.cluster.revision() - before
    made.cluster.heal()
    made.cluster.break_watches()
    made.drive(lambda: made.count(Running) == count)
    ended = time.monotonic()
    return events, ended - made.cluster.journal("watch", "pods")[-1]["time"]


def _run_all(cluster: FakeCluster, count: int) -> bool:
    return [pod["status"]["phase"] for pod in cluster.pods()].count("Running") == count


def _heartbeat(plan: Plan) -> Iterator[Figure]:
    """Through several lists of all pods, which other threads read, and which take the interpreter now and then."""
    count = plan.sizes.kubernetes_running
    with _driven(plan, relist_interval="1") as made:
        made.launch(count)
        made.drive(lambda: made.count(Running) == count)
        quiet = made.beats(_BEATS)
        made.cluster.freeze()
        made.launch(_QUEUED)
        hung = made.beats(_BEATS)
        made.cluster.thaw()
    for key, what, beats in (("heartbeat", "", quiet), ("heartbeat_hung", ", the API server hangs", hung)):
        details = {"median": significant(statistics.median(beats)), "n": len(beats)}
        yield Figure(
            f"kubernetes.{key}", f"  longest heartbeat, {count:,} pods run{what}", "ms", (max(beats),), details
        )


# -- a whole deployment


def _hang(plan: Plan) -> Iterator[Figure]:
    """Dispatch of local tasks, from ready to started, while pods wait for an API server that answers nobody; and, for
    the comparison, in the same minute of the machine.
    """
    from tests.kubernetes_api import FakeCluster

    with FakeCluster(in_process=True, kubelet="pretend") as cluster, _deployment(plan, cluster) as deployment:
        seconds = plan.sizes.kubernetes_hang_seconds
        _chains(deployment, 1.0)
        calm = _chains(deployment, seconds / 2)
        cluster.freeze()
        try:
            deployment.trigger("pods")
            hung = _chains(deployment, seconds)
        finally:
            cluster.thaw()
        calm += _chains(deployment, seconds / 2)
    for key, what, found in (("local", "before and after", calm), ("local_hung", "the API server hangs", hung)):
        title = f"  LocalExecutor, ready → started, p99, {what}"
        yield Figure(f"kubernetes.{key}", title, "ms", (_percentile(found, 99),), {**summary(found)})


@contextmanager
def _deployment(plan: Plan, cluster: FakeCluster) -> Iterator[Deployment]:
    with plan.folder("kubernetes") as home:
        options = {
            "core.executor": "LocalExecutor, k8s:KubernetesExecutor",
            "core.dags_are_paused_at_creation": "False",
            "logging.worker_log_server_port": "0",
        }
        kubeconfig = str(cluster.kubeconfig(home / "kubeconfig"))
        options |= {f"kubernetes_executor.{name}": value for name, value in _options(kubeconfig).items()}
        sizes = {"BENCH_CHAIN": str(plan.sizes.chain), "BENCH_PODS": str(_HUNG_PODS)}
        with deployed(home, dags=DAGS, options=options, sizes=sizes) as made:
            made.wait_for_dags("chain", "pods")
            yield made


def _chains(deployment: Deployment, seconds: float) -> list[float]:
    """Milliseconds of each dispatch in chains that are run one after the other for so long."""
    deadline, runs = time.monotonic() + seconds, list[int]()
    while time.monotonic() < deadline:
        runs += deployment.run("chain")
    with deployment.database.read() as connection:
        times = breakdown.attempt_times(connection, runs)
    return [(one.started - one.ready) / breakdown.MILLISECOND for one in times]


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _options(kubeconfig: str) -> dict[str, str]:
    return {
        "in_cluster": "False",
        "config_file": kubeconfig,
        "worker_container_repository": "not-looked-at",
        "relist_interval": _NEVER,
    }


def _workload() -> Workload:
    key = TaskInstanceKey("dag", "task", "run", attempt_id=str(uuid.uuid4()))
    env = {"HYBRID_START_TICKET": "t" * 300}
    return Workload(key, ("hybrid", "tasks", "run"), CodeReference("file.py", "0"), env=env)
