"""The task API over HTTP, on each database: what one process answers, and how soon the scheduler acts on a report.

The rates are those of ``hybrid api-server`` alone, asked by one process with 16 kept connections. The delay is that of
a whole deployment: from the answer to a final report until the executor is handed the next task of the chain, which the
scheduler has committed before. The benchmark is the worker.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.deployment import deployed
from benchmarks.figures import Figure, significant
from benchmarks.plan import DAGS, Plan
from benchmarks.postgres import databases, kinds
from benchmarks.processes import BenchmarkError, environment, hybrid, last_lines, run_json, running
from benchmarks.relay_executor import SOCKET
from benchmarks.task_api_client import Line, Worker
from runtime.config import Settings, load
from runtime.core import clock
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, ParsedFile, TaskSpec
from runtime.core.task_api import PREFIX, TICKET_VARIABLE, URL_VARIABLE
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database, open_database
from runtime.db.migrate import migrate
from runtime.db.runs import create_manual_run
from runtime.db.transitions import Batch, NewAttempt
from runtime.scheduler.leases import Identity, register
from runtime.scheduler.loading import GraphCache, claim, claimable_runs
from runtime.tokens.keys import load_tokens

Create = Callable[[Path], str]
"""Home → URL of a new database."""
_PATIENCE = 30.0
_RUNNING = 500
"""Attempts that the heartbeats are for."""
_FLAT = """
from runtime import DAG, task

with DAG("flat-{count}"):
    for number in range({count}):
        @task(task_id=f"t{{number}}")
        def nothing():
            pass
        nothing()
"""
_STEP = 30.0
"""Seconds that one step of the chain may take."""


def task_api(plan: Plan) -> Iterator[Figure]:
    """Rates and delays of each database."""
    for kind in kinds():
        with databases(kind) as create:
            yield from _of(plan, kind, create)


def _of(plan: Plan, kind: str, create: Create) -> Iterator[Figure]:
    attempts, beats = _rates(plan, create)
    what = f"task API, {kind}"
    yield Figure(f"task_api.{kind}.attempts", f"{what}: start + finish", "attempts/s", attempts)
    yield Figure(f"task_api.{kind}.heartbeats", "  heartbeats", "requests/s", beats)
    if kind == "sqlite":  # the worker does not see which one it is
        title = "  `hybrid tasks run` of an empty task, exec to exit"
        yield Figure("task_api.cold", title, "ms", _launches(plan, create))
    delays = sorted(_delays(plan, create))
    details = {"median": significant(statistics.median(delays)), "max": significant(delays[-1]), "n": len(delays)}
    p95 = delays[int(0.95 * (len(delays) - 1))]
    title = f"  report → next task handed over, p95 of {plan.sizes.api_chain}"
    yield Figure(f"task_api.{kind}.report", title, "ms", (p95,), details)


# -- how much one process answers


def _rates(plan: Plan, create: Create) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Attempts and heartbeats per second of each repeat, the first of which is the warm-up."""
    sizes, attempts, beats = plan.sizes, [], []
    with plan.folder("task-api") as home:
        url = create(home)
        settings = _settings(home, url)
        migrate(settings)
        database = open_database(settings)
        try:
            with _server(home, url) as api:
                for _ in range(1 + sizes.repeats):
                    both = _work(home, settings, database, api, sizes.api_attempts, 0)["both"]
                    attempts.append(sizes.api_attempts / both)
                    seconds = _work(home, settings, database, api, _RUNNING, sizes.api_heartbeats)["heartbeats"]
                    beats.append(sizes.api_heartbeats / seconds)
        finally:
            database.close()
    return tuple(attempts[1:]), tuple(beats[1:])


def _launches(plan: Plan, create: Create) -> tuple[float, ...]:
    """Milliseconds of each launch of a process that runs one attempt, the first of which is the warm-up."""
    launches = 1 + plan.sizes.version_calls
    with plan.folder("launches") as home:
        url = create(home)
        settings = _settings(home, url)
        migrate(settings)
        (home / "dags").mkdir()
        (home / "dags" / f"flat-{launches}.py").write_text(_FLAT.format(count=launches))
        database = open_database(settings)
        try:
            with _server(home, url) as api:
                tokens = load_tokens(settings)
                found = [_launch(home, api, one, tokens.start_ticket(one, 600)) for one in _queue(database, launches)]
        finally:
            database.close()
    return tuple(found[1:])


def _launch(home: Path, api: str, attempt: str, ticket: str) -> float:
    more = {
        "HYBRID_HOME": str(home),
        URL_VARIABLE: api,
        TICKET_VARIABLE: ticket,
    }
    output, started = home / "launch.log", time.perf_counter()
    with running(hybrid("tasks", "run", attempt), env=environment(more), output=output) as process:
        code = process.wait()
        seconds = time.perf_counter() - started
    if code != 0:
        raise BenchmarkError(f"hybrid tasks run ended with {code}:\n{last_lines(output)}")
    return 1000 * seconds


def _settings(home: Path, url: str) -> Settings:
    return load(home, env={"HYBRID__DATABASE__SQL_ALCHEMY_CONN": url})


@contextmanager
def _server(home: Path, url: str) -> Iterator[str]:
    """``hybrid api-server`` on any free port; its URL."""
    output = home / "api-server.log"
    more = {"HYBRID_HOME": str(home), "HYBRID__API__PORT": "0", "HYBRID__DATABASE__SQL_ALCHEMY_CONN": url}
    with running(hybrid("api-server"), env=environment(more), output=output) as process:
        deadline = time.monotonic() + _PATIENCE
        while (found := re.search(rf"http://\S+{PREFIX}", output.read_text())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"hybrid api-server did not begin:\n{last_lines(output)}")
            time.sleep(0.01)
        yield found[0]


def _work(
    home: Path, settings: Settings, database: Database, api: str, attempts: int, heartbeats: int
) -> dict[str, float]:
    """Seconds that the client took for each of its phases."""
    tokens = load_tokens(settings)
    queued = [(attempt, tokens.start_ticket(attempt, 600)) for attempt in _queue(database, attempts)]
    job = home / "job.json"
    job.touch(0o600)
    job.write_text(json.dumps({"attempts": queued, "heartbeats": heartbeats}))
    seconds: dict[str, float] = run_json("benchmarks.task_api_client", api, str(job), scratch=home)
    return seconds


def _queue(database: Database, tasks: int) -> list[str]:
    """A new run whose tasks have all been handed over by a scheduler; the ids of their attempts."""
    name = f"flat-{tasks}"
    spec = DagSpec(name, tuple(TaskSpec(f"t{number}", "@task") for number in range(tasks)))
    DatabaseDagStore(database, paused_at_creation=False).save(ParsedFile(f"{name}.py", name, (spec,)))
    now, identity = clock.now(), Identity()
    with database.write() as connection:
        register(connection, identity, 3600.0)
        run = create_manual_run(connection, dag_id=name, run_id=None, conf={}, logical_date=None, now=now)
        (row,) = claimable_runs(connection, 1, only=run.id)
        model = claim(connection, row, identity, GraphCache(), now)
        batch, made = Batch(now, "benchmark"), []
        for instance in model.instances.values():
            made.append(uuid7())
            attempt = NewAttempt(made[-1], 1, 1, "benchmark", "benchmark", identity.id, model.graph.version_id)
            batch.queue(instance.subject, attempt, scheduled_at=now)
        batch.write(connection)
    return made


# -- from report to dispatch


def _delays(plan: Plan, create: Create) -> list[float]:
    """Milliseconds of each step of the chain, the first ones left out as warm-up."""
    steps = plan.sizes.api_chain
    with ExitStack() as stack:
        home = stack.enter_context(plan.folder("task-api-chain"))
        inlet = stack.enter_context(_inlet(home / "relay"))
        options = {"core.executor": "relay:benchmarks.relay_executor.RelayExecutor", "core.parallelism": "0"}
        options |= {"database.sql_alchemy_conn": create(home), "dag_processor.refresh_interval": "60"}
        sizes = {"BENCH_CHAIN": str(steps), "BENCH_FAN_OUT": "1", "BENCH_MANY": "1", SOCKET: str(home / "relay")}
        deployment = stack.enter_context(deployed(home, dags=DAGS, options=options, sizes=sizes))
        found = re.search(r"API +(http://\S+)", (home / "standalone.log").read_text())
        assert found is not None
        deployment.wait_for_dags("chain")
        deployment.unpause("chain")
        deployment.trigger("chain")
        return _work_down(Line(found[1] + PREFIX), inlet, steps)[steps // 10 :]


def _work_down(line: Line, inlet: socket.socket, steps: int) -> list[float]:
    """Be the worker of each task in turn; milliseconds from the answer to a report until the next task is here."""
    delays, reported = [], 0.0
    for _ in range(steps):
        worker = Worker(*json.loads(inlet.recv(4096)))
        if reported:
            delays.append(1000 * (time.perf_counter() - reported))
        for request in (Worker.start, Worker.finish):
            line.send(worker, request(worker))
            while not line.receive():
                pass
        reported = time.perf_counter()
    return delays


@contextmanager
def _inlet(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inlet:
        inlet.bind(str(path))
        inlet.settimeout(_STEP)
        yield inlet
