"""``hybrid standalone``: one terminal, everything in it.

The parent imports the daemons' modules, then forks them, so that they share its memory. It has one thread, prints
their lines under their names and passes signals on. It restarts nothing: a daemon that dies ends the whole.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from runtime.cli.children import Family
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.home import create_home
from runtime.cli.output import colours
from runtime.config import Settings
from runtime.config.executors import load_registry
from runtime.config.values import masked
from runtime.core.errors import HybridError

READY_POLL = 0.05
READY_TIMEOUT = 30.0
"""Seconds until the scheduler must have written its first row."""


def run_standalone(settings: Settings) -> int:
    """Run until a signal or until a daemon ends; 0 after a signal, else 1. Raises :class:`HybridError` at set-up."""
    started = time.monotonic()
    load_registry(settings)
    create_home(settings)
    family = Family(colours=colours(sys.stdout))
    _start(family, settings)
    try:
        _watch(family, settings, started)
    finally:
        family.end(settings.scheduler.shutdown_grace + settings.core.killed_task_cleanup_time + 30)
    return 0 if family.stopping else 1


def _start(family: Family, settings: Settings) -> None:
    migration = family.fork("migrate", lambda: _migrate(settings))
    daemons = _import_daemons(settings)
    if family.wait(migration) != 0:
        raise HybridError("the metadata DB could not be migrated; the line above says why")
    family.children.remove(migration)
    family.catch_signals()
    for name, body in daemons.items():
        family.fork(name, body)


def _watch(family: Family, settings: Settings, started: float) -> None:
    """Until a signal comes or a child ends; says when everything is ready, and why it stops."""
    ready = False
    while not family.stopping and not family.dead:
        family.pump(None if ready else READY_POLL)
        if not ready and time.monotonic() - started > READY_TIMEOUT:
            raise HybridError(f"the scheduler was not ready after {READY_TIMEOUT:g} s; its lines above may say why")
        if not ready and (ready := _is_ready(settings, family)):
            family.say(_banner(settings, time.monotonic() - started))
    for child in family.dead:
        family.say(f"hybrid: {child.name} {child.ending}; stopping the rest")
    if family.stopping:
        grace = settings.scheduler.shutdown_grace
        family.say(f"hybrid: stopping; running tasks get up to {grace:g} s (Ctrl-C again stops them)")


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
        return run_scheduler(settings)

    def dag_processor() -> int:
        log_to_stderr(settings.logging.logging_level)
        return run_processor(settings)

    return {"scheduler": scheduler, "dag-processor": dag_processor}


def _is_ready(settings: Settings, family: Family) -> bool:
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
