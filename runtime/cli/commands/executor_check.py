"""``hybrid executors check``: starts each executor on the side and asks it what is wrong with its backend."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from executors.context import ExecutorContext
from executors.names import lookup
from executors.registry import BrokenExecutor, ConfiguredExecutor, ExecutorRegistry
from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.executor_child import ask_in_child, told
from runtime.cli.output import emit
from runtime.config import Settings
from runtime.config.executors import survey_executors
from runtime.config.worker import remote_worker_config, worker_config

DEADLINE = 30.0
"""Seconds for one executor, its start included."""
COLUMNS = ("name", "class", "healthy", "problem")


def _check(args: Namespace) -> int:
    """Exit code 1 where something is wrong."""
    settings = load_settings()
    entries = survey_executors(settings)
    if args.name is not None:
        wanted = lookup([entry.name for entry in entries], args.name)
        entries = [entry for entry in entries if entry.name == wanted]
    records = [_record(settings, entry, args.timeout) for entry in entries]
    emit(records, args.output, COLUMNS)
    return 0 if all(record["healthy"] for record in records) else 1


def _record(settings: Settings, entry: ConfiguredExecutor | BrokenExecutor, deadline: float) -> dict[str, Any]:
    problem = entry.reason if isinstance(entry, BrokenExecutor) else _problem(settings, entry, deadline)
    shown = {"name": entry.name.name, "class": entry.name.class_name}
    return {**shown, "healthy": problem is None, "problem": problem}


def _problem(settings: Settings, entry: ConfiguredExecutor, deadline: float) -> str | None:
    try:
        answer = ask_in_child(lambda: {"problem": _ask(settings, entry)}, deadline)
    except TimeoutError:
        return f"it has not answered within {deadline:g} s"
    if answer is None:
        return "it ended its process"
    problem: str | None = answer["problem"]
    return problem


def _ask(settings: Settings, entry: ConfiguredExecutor) -> str | None:
    from runtime.scheduler.assembly import WORKER_ENTRY

    config = (worker_config if entry.cls.is_local else remote_worker_config)(settings)
    context = ExecutorContext(worker_config=config, worker_entry=WORKER_ENTRY)
    try:
        executor = ExecutorRegistry([entry]).create(entry.name.name, context)
        executor.start()
        try:
            problem = executor.health_check()
        finally:
            executor.terminate()
    except BaseException as error:
        return told(error)
    return None if not problem else " ".join(str(problem).split())


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one executor (default: all)")
    parser.add_argument(
        "--timeout", type=float, default=DEADLINE, metavar="SEC", help=f"for each of them (default: {DEADLINE:g})"
    )
    add_output(parser)


CHECK = {"check": Verb("start each executor on the side and ask what is wrong with its backend", _check, _arguments)}
