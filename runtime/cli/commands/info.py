"""``hybrid info`` and ``hybrid version``."""

from __future__ import annotations

import platform
from argparse import Namespace
from typing import Any

from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.output import emit_one
from runtime.config import Settings
from runtime.config.values import masked
from runtime.core import clock
from runtime.core.errors import DatabaseError
from runtime.version import VERSION


def _info(args: Namespace) -> int:
    settings = load_settings()
    file = settings.config_file
    record = {
        "version": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "home": str(settings.home),
        "config_file": str(file) if file.exists() else f"{file} (absent: defaults)",
        "dags_folder": str(settings.core.dags_folder),
        "base_log_folder": str(settings.logging.base_log_folder),
        "sql_alchemy_conn": masked("url", settings.database.sql_alchemy_conn),
        "executor": settings.core.executor,
        **_from_database(settings),
    }
    emit_one(record, args.output)
    return 0


def _from_database(settings: Settings) -> dict[str, Any]:
    from runtime.db.engine import open_database
    from runtime.db.queries import list_dags, list_import_errors, live_schedulers

    since = clock.now() - int(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
    try:
        database = open_database(settings)
    except DatabaseError as error:
        return {"database": str(error), "dags": None, "import_errors": None, "schedulers": []}
    with database.read() as connection:
        running = [f"{row['hostname']} pid {row['pid']}" for row in live_schedulers(connection, since=since)]
        return {
            "database": "ok",
            "dags": len(list_dags(connection)),
            "import_errors": len(list_import_errors(connection)),
            "schedulers": running,
        }


def _version(args: Namespace) -> int:
    print(VERSION)
    return 0


VERBS = {
    "info": Verb("say where things are and what runs", _info, add_output),
    "version": Verb("print the version", _version),
}
