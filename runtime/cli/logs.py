"""``hybrid tasks logs``: the log of each dispatch of a try, wherever it is.

The file of this host; else what the log server of the attempt's host has; and what only its executor can get at. Logs
go to stdout, everything about them to stderr, so that a pipe gets nothing but logs.
"""

from __future__ import annotations

import socket
import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.cli.executor_logs import Answer, ask_executor
from runtime.config import Settings
from runtime.log.attempt_logs import attempt_path, read


@dataclass(frozen=True)
class Found:
    """``text`` is ``None`` where there is no log; ``note`` says where it was, or why it is not."""

    text: str | None
    note: str = ""


def print_logs(settings: Settings, args: Namespace) -> int:
    """Print all dispatches of one try. Raises :class:`NotFoundError` where run, task or try do not exist."""
    from runtime.db import queries
    from runtime.db.engine import open_database

    database = open_database(settings)
    with database.read() as connection:
        attempts = queries.dispatches(
            connection, args.dag_id, args.run_id, args.task_id, map_index=args.map_index, try_number=args.try_number
        )
    database.close()
    ids = (args.dag_id, args.run_id, args.task_id, args.map_index)
    local = {
        log.dispatch_number: log.text
        for log in read(settings.logging.base_log_folder, *ids, try_number=attempts[0]["try_number"])
    }
    for attempt in attempts:
        text = local.get(attempt["dispatch_number"])
        found = Found(text) if text is not None else _from_its_host(settings, attempt, ids)
        _show(settings, attempt, ids, found, alone=len(attempts) == 1)
    return 0


def _show(
    settings: Settings, attempt: dict[str, Any], ids: tuple[str, str, str, int], found: Found, alone: bool
) -> None:
    reference = _reference(attempt, ids)
    if found.text is not None:
        if found.note or not alone:
            _say(_heading(attempt, found.note))
        # Before the executor is asked, which may take its time.
        print(found.text, end="", flush=True)
        _show_answer(attempt, ask_executor(settings, attempt["executor"], reference), found.text)
        return
    answer = ask_executor(settings, attempt["executor"], reference)
    _say(_heading(attempt, "" if answer.logs else found.note))
    _show_answer(attempt, answer, "")


def _show_answer(attempt: dict[str, Any], answer: Answer, shown: str) -> None:
    """Messages as headings; of the logs the lines that were not shown before."""
    name = attempt["executor"]
    if answer.problem and (answer.is_news or not shown):
        _say(f"hybrid: executor {name}: {answer.problem}")
    for message in answer.messages if answer.logs or not shown else ():
        _say(f"── {name}: {message}")
    known = set(shown.splitlines()) if answer.logs else set()
    if answer.logs and shown and not shown.endswith("\n"):
        print()
    for log in answer.logs:
        for line in log.splitlines():
            if line not in known:
                print(line)
    sys.stdout.flush()


def _from_its_host(settings: Settings, attempt: dict[str, Any], ids: tuple[str, str, str, int]) -> Found:
    """Ask the log server where the attempt ran."""
    hostname = attempt["hostname"]
    if not hostname:
        return Found(None, "it logged nothing that is on this host")
    from runtime.core.errors import HybridError
    from runtime.logserver.client import LogUnavailableError, fetch_log
    from runtime.tokens.keys import load_log_tokens

    path = attempt_path(*ids, attempt["try_number"], attempt["dispatch_number"])
    address = _address(settings, hostname)
    try:
        token = load_log_tokens(settings).log_token(path)
        data = fetch_log(address, settings.logging.worker_log_server_port, path, token)
    except (LogUnavailableError, HybridError) as error:
        return Found(None, f"it logged nothing that is on this host; it ran on {hostname}, and {error}")
    return Found(data.decode(errors="backslashreplace"), f"as {hostname} has it")


def _address(settings: Settings, hostname: str) -> str:
    """Where to ask: on this very host, the address that its own server listens on."""
    listens = settings.logging.worker_log_server_host
    if hostname != socket.gethostname():
        return hostname
    return "127.0.0.1" if listens in ("0.0.0.0", "::", "") else listens  # noqa: S104  compared only


def _reference(attempt: dict[str, Any], ids: tuple[str, str, str, int]) -> TaskInstanceRef:
    dag_id, run_id, task_id, map_index = ids
    return TaskInstanceRef(
        key=TaskInstanceKey(dag_id, task_id, run_id, attempt["try_number"], map_index, attempt["id"]),
        queue=attempt["queue"],
        external_executor_id=attempt["external_id"],
        started=attempt["hostname"] is not None,
    )


def _heading(attempt: dict[str, Any], note: str) -> str:
    reason = f": {attempt['reason']}" if attempt["reason"] else ""
    where = f"try {attempt['try_number']}, dispatch {attempt['dispatch_number']} on {attempt['executor']}"
    return f"── {where}: {attempt['state']}{reason}{f'; {note}' if note else ''}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
