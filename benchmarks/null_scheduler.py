"""Child of the benchmarks: a scheduler with :class:`~benchmarks.null_executor.NullExecutor`, in one process.

``python -m benchmarks.null_scheduler HOME RUNS``, RUNS being a JSON list of ``[shape, tasks]``, prints a JSON list with
``{"seconds": …, "rss_mib": …, "pss_mib": …}`` for each of the runs, which follow one another. The clock stands from the
insert of the run to the commit that ends it; not from the DB's own times, for the last of these is taken before its
commit, which is half of the work of a run of 100 tasks. ``PROFILE=FILE`` in the environment writes a cProfile there.
"""

from __future__ import annotations

import cProfile
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from runtime.config import Settings, load
from runtime.config.executors import load_registry
from runtime.core import clock
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, ParsedFile, TaskSpec
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database, open_database
from runtime.db.hints import open_hints
from runtime.db.migrate import migrate
from runtime.db.runs import create_manual_run
from runtime.scheduler.assembly import Assembly, assemble
from runtime.scheduler.health import Health
from runtime.scheduler.main import SWITCH_INTERVAL
from runtime.scheduler.waking import Waker
from runtime.tokens.keys import load_tokens

PARALLELISM = 256
"""Slots of the executor: more than a loop takes, so that it is never the executor that is waited for."""
WIDTH = 100
"""Of the layers."""
ENVIRONMENT = {
    "HYBRID__CORE__EXECUTOR": "null:benchmarks.null_executor.NullExecutor",
    "HYBRID__CORE__PARALLELISM": str(PARALLELISM),
    "HYBRID__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": "100000",
}
"""Of a scheduler that has this executor alone, and no limit that matters."""
_START_TIMEOUT = 10.0


def fan(number: int) -> tuple[str, ...]:
    """No task waits for another."""
    return ()


def layers(number: int) -> tuple[str, ...]:
    """Each task waits for two of the layer above, neighbours share one."""
    if number < WIDTH:
        return ()
    above, place = number // WIDTH * WIDTH - WIDTH, number % WIDTH
    return tuple(f"t{above + other}" for other in sorted({place, (place + 1) % WIDTH}))


SHAPES: dict[str, Callable[[int], tuple[str, ...]]] = {"fan": fan, "layers": layers}


def main() -> None:
    """Run all, and print."""
    home, runs = Path(sys.argv[1]), [(str(shape), int(tasks)) for shape, tasks in json.loads(sys.argv[2])]
    logging.basicConfig(level="WARNING")
    settings = load(home, env=ENVIRONMENT)
    migrate(settings)
    database = open_database(settings)
    for shape, tasks in sorted(set(runs)):
        save_dag(database, shape, tasks)
    sys.setswitchinterval(SWITCH_INTERVAL)
    with _profile():
        measured = _run_all(settings, database, runs)
    print(json.dumps(measured))


def save_dag(database: Database, shape: str, tasks: int, *, runs: int = 16) -> None:
    """Store the DAG ``shape-tasks``, not paused; up to ``runs`` of its runs at once."""
    upstream = SHAPES[shape]
    specs = tuple(TaskSpec(f"t{number}", "@task", upstream=upstream(number)) for number in range(tasks))
    name = f"{shape}-{tasks}"
    spec = DagSpec(name, specs, max_active_tasks=max(tasks, PARALLELISM), max_active_runs=runs)
    DatabaseDagStore(database, paused_at_creation=False).save(ParsedFile(f"{name}.py", name, (spec,)))


def _run_all(settings: Settings, database: Database, runs: list[tuple[str, int]]) -> list[dict[str, float]]:
    waker = Waker(open_hints(settings, database, uuid7()))
    assembly = assemble(settings, database, load_registry(settings), waker, lambda: load_tokens(settings))
    for lane in assembly.lanes.values():
        lane.start()
    assembly.scheduler.begin()
    gc.freeze()
    try:
        _wait_until_healthy(assembly)
        return [_run(assembly, database, f"{shape}-{tasks}") for shape, tasks in runs]
    finally:
        assembly.scheduler.finish()
        for lane in assembly.lanes.values():
            lane.terminate()
            lane.join(5.0)
        waker.close()
        database.close()


def _wait_until_healthy(assembly: Assembly) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while any(lane.status().health is not Health.HEALTHY for lane in assembly.lanes.values()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the null executor was not there after {_START_TIMEOUT:g} s")
        assembly.waker.wait(0.01)


def _run(assembly: Assembly, database: Database, dag_id: str) -> dict[str, float]:
    began = time.perf_counter()
    with database.write() as connection:
        create_manual_run(connection, dag_id=dag_id, run_id=None, conf={}, logical_date=None, now=clock.now())
    scheduler, hinted = assembly.scheduler, True
    scheduler.step(hinted=hinted)
    while scheduler.memory.runs:
        hinted = assembly.waker.wait(scheduler.pause)
        scheduler.step(hinted=hinted)
    seconds = time.perf_counter() - began
    memory = psutil.Process().memory_full_info()
    return {"seconds": seconds, "rss_mib": memory.rss / 2**20, "pss_mib": memory.pss / 2**20}


@contextmanager
def _profile() -> Iterator[None]:
    path = os.environ.get("PROFILE")
    if path is None:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(path)


if __name__ == "__main__":
    main()
