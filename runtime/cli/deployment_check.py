"""What the database tells of a deployment's processes, for ``hybrid executors check``; asked in a child process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from executors.errors import ExecutorConfigError
from executors.findings import Component, Finding, Severity
from executors.names import parse_executors
from runtime.config import Settings
from runtime.config.exposure import exposures
from runtime.config.parity import API_SERVER, COMMAND, DAG_PROCESSOR, SCHEDULER, declare, title
from runtime.config.routing import make_router
from runtime.core import clock
from runtime.core.errors import ConfigError, DatabaseError, HybridError
from runtime.core.specs import DagSpec

Demand = Mapping[str, Mapping[str, str]]
"""Executor → queue → a task that goes there."""


@dataclass(frozen=True)
class Deployment:
    """What was found."""

    components: tuple[Component, ...] = ()
    findings: tuple[Finding, ...] = ()
    demand: Demand = field(default_factory=dict)
    waiting: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Executor → queue → attempts that wait there."""
    files: tuple[tuple[str, str], ...] = ()
    """Path and hash of each DAG file, as the DAG processor last read it."""
    clock_offset: float = 0.0
    """Seconds by which this host's clock is ahead of the database's."""


def survey(settings: Settings, remote: Sequence[str]) -> Deployment:
    """Read the database; look at this host's files. Never raises for a database that cannot be read.

    :param remote: names of the executors whose attempts report over HTTP.
    """
    from runtime.db.declarations import look

    unsafe = tuple(exposures(settings))
    try:
        seen = look(settings)
    except DatabaseError as error:
        cannot = Finding(Severity.WARNING, "components", f"the components cannot be compared: {error}")
        return Deployment((_command(settings, None),), (cannot, *unsafe))
    offset = (clock.now() - seen.at) / clock.SECOND
    components = (*seen.components, _command(settings, offset))
    findings = (*absent(components, remote), *unsafe)
    return Deployment(components, findings, demand(settings, seen.dags), seen.waiting, tuple(seen.files), offset)


def absent(components: Sequence[Component], remote: Sequence[str]) -> Iterator[Finding]:
    """Which processes are missing, where a scheduler runs: without one nothing is expected to."""
    kinds = {component.kind for component in components}
    if SCHEDULER not in kinds:
        return
    if remote and API_SERVER not in kinds:
        text = f"no API server is alive, so nothing starts on {', '.join(remote)}: hybrid api-server"
        yield Finding(Severity.ERROR, "components", text)
    if DAG_PROCESSOR not in kinds:
        text = "no DAG processor is alive, so changes of DAG files are not seen: hybrid dag-processor"
        yield Finding(Severity.WARNING, "components", text)


def demand(settings: Settings, dags: Sequence[DagSpec]) -> dict[str, dict[str, str]]:
    """The queues that tasks of these DAGs go to, by executor. Empty where the settings make no router."""
    try:
        router = make_router(settings, parse_executors(settings.core.executor))
    except (ExecutorConfigError, ConfigError):
        return {}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for dag in dags:
        for task in dag.tasks:
            for executor in () if task.empty else router.route(dag, task).chain[:1]:
                found[executor].setdefault(task.queue, f"{dag.dag_id}.{task.task_id}")
    return found


def unread(readers: Mapping[str, int], wanted: Mapping[str, str], waiting: Mapping[str, int]) -> Iterator[Finding]:
    """Queues that no worker reads: an error where attempts wait there, else a warning."""
    for queue in sorted({*wanted, *waiting}):
        if readers.get(queue) or (not readers and not waiting.get(queue)):  # that nobody answers is said elsewhere
            continue
        number = waiting.get(queue)
        why = f"{number} attempts wait" if number else f"task {wanted[queue]} goes"
        text = f"no worker reads queue {queue}, where {why}; start one: hybrid celery worker -q {queue}"
        yield Finding(Severity.ERROR if number else Severity.WARNING, "workers", text)


def stale(workers: Sequence[Component], files: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Workers whose DAG files are not those that the DAG processor has read."""
    from runtime.cli.declaring import unlike

    for worker in workers:
        if names := unlike(worker.declared, files):
            text = f"{title(worker)} does not have the DAG processor's version of {names}; copy these DAG files there"
            yield Finding(Severity.WARNING, "parity", text)


def _command(settings: Settings, offset: float | None) -> Component:
    from runtime.tokens.keys import log_key_id

    try:
        keys = log_key_id(settings)
    except HybridError:
        keys = {}
    return Component(COMMAND, "", declare(settings, COMMAND, keys), offset)
