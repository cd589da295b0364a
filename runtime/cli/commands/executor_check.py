"""``hybrid executors check``: starts each executor on the side, asks what is wrong, and compares the processes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from executors.context import ExecutorContext
from executors.findings import Component, Examination, Finding, Severity, errors
from executors.names import lookup
from executors.registry import BrokenExecutor, ConfiguredExecutor, ExecutorRegistry
from runtime.cli.command import Verb, add_output, load_settings
from runtime.cli.deployment_check import Deployment, stale, survey, unread
from runtime.cli.executor_child import Answer, ask_side_by_side, told
from runtime.cli.output import emit
from runtime.config import Settings
from runtime.config.executors import survey_executors
from runtime.config.parity import differences
from runtime.config.worker import remote_worker_config, worker_config

DEADLINE = 30.0
"""Seconds for one executor, its start included; they are asked side by side."""
COLUMNS = ("name", "severity", "about", "finding")
WHOLE = "(deployment)"
"""Stands for what concerns no single executor; no executor can be called so."""
_URGENT = {Severity.ERROR: 0, Severity.WARNING: 1}
Entry = ConfiguredExecutor | BrokenExecutor


@dataclass(frozen=True)
class Asked:
    """What was learnt of one executor; of one that cannot be asked, why."""

    entry: Entry
    examination: Examination


def _check(args: Namespace) -> int:
    """Exit code 1 where there is an error."""
    settings = load_settings()
    entries = survey_executors(settings)
    wanted = None if args.name is None else lookup([entry.name for entry in entries], args.name).name
    chosen = [entry for entry in entries if wanted in (None, entry.name.name)]
    asked, deployment = _ask_all(settings, entries, chosen, args.timeout)
    records = _records(asked, deployment, of_all=wanted is None)
    if args.output in ("json", "yaml"):
        emit(records, args.output, ())
    else:
        emit(_lines(records), args.output, COLUMNS)
    return 0 if all(record["healthy"] for record in records) else 1


def _ask_all(
    settings: Settings, entries: Sequence[Entry], chosen: Sequence[Entry], deadline: float
) -> tuple[list[Asked], Deployment]:
    remote = [entry.name.name for entry in entries if isinstance(entry, ConfiguredExecutor) and not entry.cls.is_local]
    questions: dict[str, Callable[[], dict[str, Any]]] = {
        entry.name.name: partial(_examine, settings, entry) for entry in chosen if isinstance(entry, ConfiguredExecutor)
    }
    answers = ask_side_by_side({**questions, WHOLE: partial(_survey, settings, remote)}, deadline)
    asked = [Asked(entry, _examination(entry, answers.get(entry.name.name), deadline)) for entry in chosen]
    return asked, _deployment(answers[WHOLE], deadline)


def _examine(settings: Settings, entry: ConfiguredExecutor) -> dict[str, Any]:
    """In the child process."""
    from runtime.scheduler.assembly import WORKER_ENTRY

    config = (worker_config if entry.cls.is_local else remote_worker_config)(settings)
    context = ExecutorContext(worker_config=config, worker_entry=WORKER_ENTRY)
    try:
        executor = ExecutorRegistry([entry]).create(entry.name.name, context)
        executor.start()
        try:
            found = executor.examine()
        finally:
            executor.terminate()
    except BaseException as error:
        found = Examination(errors("backend", told(error)))
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain


def _survey(settings: Settings, remote: Sequence[str]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(survey(settings, remote))
    return plain


def _examination(entry: Entry, answer: Answer | TimeoutError, deadline: float) -> Examination:
    if isinstance(entry, BrokenExecutor):
        return Examination(errors("configuration", entry.reason))
    if isinstance(answer, TimeoutError):
        return Examination(errors("backend", f"it has not answered within {deadline:g} s"))
    if answer is None:
        return Examination(errors("backend", "it ended its process"))
    found = msgspec.convert(answer, Examination)
    return replace(found, findings=tuple(replace(each, text=" ".join(each.text.split())) for each in found.findings))


def _deployment(answer: Answer | TimeoutError, deadline: float) -> Deployment:
    if isinstance(answer, dict):
        return msgspec.convert(answer, Deployment)
    why = f"the database has not answered within {deadline:g} s" if answer else "the process that asks has ended"
    return Deployment(findings=errors("components", f"the components cannot be compared: {why}"))


def _records(asked: Sequence[Asked], deployment: Deployment, *, of_all: bool) -> list[dict[str, Any]]:
    """One for each executor; then one for what concerns them all, unless one was asked for by name."""
    workers: list[Component] = []
    records = []
    for each in asked:
        name = each.entry.name.name
        found = each.examination
        workers += found.workers
        if found.readers is not None:
            queues = unread(found.readers, deployment.demand.get(name, {}), deployment.waiting.get(name, {}))
            found = replace(found, findings=(*found.findings, *queues))
        records.append(_record(name, each.entry.name.class_name, found.findings))
    if of_all:
        by_our_clock = deployment.clock_offset
        components = (*deployment.components, *(_by_database(worker, by_our_clock) for worker in workers))
        compared = [*differences(components), *stale(workers, deployment.files)]
        records.append(_record(WHOLE, None, [*deployment.findings, *compared]))
    return records


def _by_database(worker: Component, ours: float) -> Component:
    """Its clock was read by ours, which is ``ours`` seconds ahead of the database's."""
    return worker if worker.clock_offset is None else replace(worker, clock_offset=worker.clock_offset + ours)


def _record(name: str, class_name: str | None, findings: Sequence[Finding]) -> dict[str, Any]:
    found = sorted(findings, key=lambda each: _URGENT[each.severity])
    bad = [each.text for each in found if each.severity is Severity.ERROR]
    shown = [{"severity": str(each.severity), "about": each.about, "text": each.text} for each in found]
    return {
        "name": name,
        "class": class_name,
        "healthy": not bad,
        "problem": "; ".join(bad) or None,
        "findings": shown,
    }


def _lines(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For the eye: a line for each finding."""
    fine = [{"severity": "ok", "about": None, "text": None}]
    return [
        {"name": record["name"], "severity": each["severity"], "about": each["about"], "finding": each["text"]}
        for record in records
        for each in record["findings"] or fine
    ]


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one executor (default: all)")
    parser.add_argument(
        "--timeout", type=float, default=DEADLINE, metavar="SEC", help=f"for each of them (default: {DEADLINE:g})"
    )
    add_output(parser)


CHECK = {
    "check": Verb("say what is wrong with executors, workers, settings, and where processes differ", _check, _arguments)
}
