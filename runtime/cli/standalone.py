"""``hybrid standalone``: one terminal, everything in it.

The parent binds the API server's port, imports the daemons' modules, then forks them, so that they share its memory;
what serves HTTP is imported by the API server alone. The parent has one thread, prints their lines under their names
and passes signals on. It restarts nothing: a daemon that dies ends the whole.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from executors.registry import ConfiguredExecutor
from runtime.api.listening import listen, with_port_of
from runtime.cli.children import Family
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.home import create_home
from runtime.cli.output import colours
from runtime.cli.probe import Probe
from runtime.cli.with_celery import REDIS, WORKER, celery_executor, start_redis, with_broker, worker_body
from runtime.config import Settings
from runtime.config.executors import load_registry
from runtime.config.values import masked
from runtime.core.errors import HybridError
from runtime.core.task_api import PREFIX, URL_VARIABLE

API_SERVER = "api-server"
READY_POLL = 0.05
READY_TIMEOUT = 30.0
"""Seconds until the scheduler must have written its first row, and the API server have answered."""


def run_standalone(settings: Settings, *, with_celery: bool = False) -> int:
    """Run until a signal or until a daemon ends; 0 after a signal, else 1. Raises :class:`HybridError` at set-up.

    :param with_celery: bring a Redis and a Celery worker along.
    """
    started = time.monotonic()
    registry = load_registry(settings)
    celery = celery_executor(registry) if with_celery else None
    create_home(settings)
    with listen(settings.api.host, settings.api.port) as listener:
        address = listener.getsockname()
        settings = _make_known(with_port_of(listener, settings))
        family = Family(colours=colours(sys.stdout))
        _start(family, settings, listener, celery)
    try:
        _watch(family, settings, address, started)
    finally:
        grace = settings.scheduler.shutdown_grace + settings.core.killed_task_cleanup_time
        family.end(grace + 30, last=(API_SERVER, REDIS))  # Tasks report while others wait for them.
    return 0 if family.stopping else 1


def _make_known(settings: Settings) -> Settings:
    """Have every process below this one find the API server, unless it was configured where it is found."""
    os.environ.setdefault(URL_VARIABLE, settings.task_api_url)
    return replace(settings, core=replace(settings.core, execution_api_server_url=settings.task_api_url))


def _start(family: Family, settings: Settings, listener: socket.socket, celery: ConfiguredExecutor | None) -> None:
    migration = family.fork("migrate", lambda: _migrate(settings))
    if celery is not None:
        settings = with_broker(settings, celery, start_redis(family, settings))
    daemons = _import_daemons(settings)
    if celery is not None:
        daemons[WORKER] = worker_body(settings, celery)
    if family.wait(migration) != 0:
        raise HybridError("the metadata DB could not be migrated; the line above says why")
    family.children.remove(migration)
    family.catch_signals()
    family.fork(API_SERVER, lambda: _serve(settings, listener))
    listener.close()  # for nobody but the API server: tasks are children of the next ones
    for name, body in daemons.items():
        family.fork(name, body)


def _watch(family: Family, settings: Settings, address: Any, started: float) -> None:
    """Until a signal comes or a child ends; says when everything is ready, and why it stops."""
    with closing(Probe(address)) as probe:
        _watch_begin(family, settings, probe, started)
    while not family.stopping and not family.dead:
        family.pump(None)
    for child in family.dead:
        family.say(f"hybrid: {child.name} {child.ending}; stopping the rest")
    if family.stopping:
        grace = settings.scheduler.shutdown_grace
        family.say(f"hybrid: stopping; running tasks get up to {grace:g} s (Ctrl-C again stops them)")


def _watch_begin(family: Family, settings: Settings, probe: Probe, started: float) -> None:
    """Until everything is ready, and say so, or until a signal comes or a child ends."""
    while not family.stopping and not family.dead:
        family.pump(READY_POLL)
        if probe.look() and _has_begun(settings, family):
            family.say(_banner(settings, time.monotonic() - started))
            return
        if time.monotonic() - started > READY_TIMEOUT:
            name = "scheduler" if probe.answered else "API server"
            raise HybridError(f"the {name} was not ready after {READY_TIMEOUT:g} s; its lines above may say why")


def _migrate(settings: Settings) -> int:
    """In a child, while the parent imports: Alembic is needed once and would stay in memory for ever."""
    from runtime.db.migrate import migrate

    migrate(settings)
    return 0


def _import_daemons(settings: Settings) -> dict[str, Callable[[], int]]:
    from runtime.processing.main import run_processor
    from runtime.scheduler.main import run_scheduler

    def scheduler() -> int:
        log_to_stderr(settings.logging.logging_level)
        return run_scheduler(settings, serve_logs=False)

    def dag_processor() -> int:
        log_to_stderr(settings.logging.logging_level)
        return run_processor(settings)

    return {"scheduler": scheduler, "dag-processor": dag_processor}


def _serve(settings: Settings, listener: socket.socket) -> int:
    """In a child, which alone pays for the import of FastAPI."""
    from runtime.api.main import run_api_server

    log_to_stderr(settings.logging.logging_level)
    return run_api_server(settings, listener)


def _has_begun(settings: Settings, family: Family) -> bool:
    """Whether the scheduler that we forked has written its row."""
    from runtime.db.engine import open_database
    from runtime.db.queries import live_schedulers

    pids = {child.pid for child in family.children}
    database = open_database(settings)
    try:
        with database.read() as connection:
            return any(row["pid"] in pids for row in live_schedulers(connection, since=0))
    finally:
        database.close()


def _banner(settings: Settings, seconds: float) -> str:
    file = settings.config_file
    lines = [
        "",
        f"hybrid is ready ({seconds:.1f} s). Ctrl-C stops it.",
        "",
        f"  home       {settings.home}",
        f"  config     {file}{'' if file.exists() else ' (absent: defaults)'}",
        f"  DAGs       {settings.core.dags_folder}",
        f"  logs       {settings.logging.base_log_folder}",
        f"  database   {masked('url', settings.database.sql_alchemy_conn)}",
        f"  executors  {settings.core.executor}",
        f"  API        {settings.task_api_url.removesuffix(PREFIX)}",
        "",
        "In another terminal:" + _home_hint(settings),
        "  hybrid dags list",
        "  hybrid dags unpause DAG",
        "  hybrid dags trigger DAG --wait",
        "",
    ]
    return "\n".join(lines)


def _home_hint(settings: Settings) -> str:
    default = os.path.expanduser("~/hybrid")
    return "" if str(settings.home) == default else f"\n  export HYBRID_HOME={settings.home}"
