"""``hybrid dags report`` and ``reserialize``: the DAGs folder as it is now."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.output import emit

if TYPE_CHECKING:
    from runtime.core.specs import ParsedFile

REPORT_COLUMNS = ("file", "duration", "dag_num", "task_num", "dags")
COLUMNS = ("file", "dags", "error")


class _Timed:
    """A store of nothing but how long each file has taken, one after the other."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.seconds: dict[str, float] = {}

    def save(self, parsed: ParsedFile) -> None:
        """See :class:`runtime.processing.processor.DagStore`."""
        now = time.monotonic()
        self.seconds[parsed.rel_path], self._since = now - self._since, now

    def forget(self, rel_paths: Sequence[str]) -> None:
        """Nothing was known."""

    def known_files(self) -> list[str]:
        """None."""
        return []


def _report(args: Namespace) -> int:
    """Exit code 1 where a file has an error."""
    from runtime.processing.once import make_processor
    from runtime.processing.processor import preload

    settings = load_settings()
    log_to_stderr("ERROR")
    settings = replace(settings, dag_processor=replace(settings.dag_processor, parsing_processes=1))
    preload()
    timed = _Timed()
    files = make_processor(settings, timed).parse_once()
    records = [
        {
            "file": f"/{parsed.rel_path}",
            "duration": round(timed.seconds[parsed.rel_path], 6),
            "dag_num": len(parsed.dags),
            "task_num": sum(len(spec.tasks) for spec in parsed.dags),
            "dags": sorted(spec.dag_id for spec in parsed.dags),
            "error": parsed.error,
        }
        for parsed in files
    ]
    emit(records, args.output, (*REPORT_COLUMNS, *(["error"] if any(record["error"] for record in records) else [])))
    return int(any(record["error"] for record in records))


def _reserialize(args: Namespace) -> int:
    """Exit code 1 where a file has an error."""
    from runtime.db.dags import DatabaseDagStore
    from runtime.db.engine import open_database
    from runtime.processing.once import make_processor

    settings = load_settings()
    log_to_stderr("ERROR")
    database = open_database(settings)
    try:
        store = DatabaseDagStore(database, paused_at_creation=settings.core.dags_are_paused_at_creation)
        files = make_processor(settings, store).parse_once()
    finally:
        database.close()
    records: list[dict[str, Any]] = [
        {"file": parsed.rel_path, "dags": sorted(spec.dag_id for spec in parsed.dags), "error": parsed.error}
        for parsed in files
    ]
    emit(records, args.output, COLUMNS)
    return int(any(record["error"] for record in records))


VERBS = {
    "report": Verb("parse every DAG file, and show how long each takes", _report, add_output),
    "reserialize": Verb("parse every DAG file now, and store what it says", _reserialize, add_output),
}
