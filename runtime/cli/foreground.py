"""What ``dags test`` adds to the run: a line per change of a task instance, and a task API where one is needed."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runtime.cli.output import colours

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database
    from runtime.tokens.tokens import Tokens

_CODES = {"success": "32", "failed": "31", "upstream_failed": "33", "up_for_retry": "33", "skipped": "35"}


def show_change(change: dict[str, Any]) -> None:
    """Print ``12:00:01  success   task_id[3]  try 1  LocalExecutor  reason``; absent fields are left out."""
    state = str(change.get("state", ""))
    name = str(change.get("task_id", ""))
    if (index := change.get("map_index", -1)) >= 0:
        name += f"[{index}]"
    shown = f"{state:<16}"
    if state in _CODES and colours(sys.stdout):
        shown = f"\x1b[{_CODES[state]}m{shown}\x1b[0m"
    words = [f"{datetime.now().astimezone():%H:%M:%S}", shown, f"{name:<30}"]
    if attempt := change.get("try_number"):
        words.append(f"try {attempt}")
    words += [str(change[key]) for key in ("executor", "reason") if change.get(key)]
    print("  ".join(words).rstrip(), flush=True)


def serve_task_api(settings: Settings, database: Database, tokens: Tokens) -> AbstractContextManager[str]:
    """As :func:`runtime.api.embedded.serve`, which costs its imports only here."""
    from runtime.api.embedded import serve

    return serve(settings, database, tokens)
