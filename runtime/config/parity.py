"""Which options must be the same in which processes of a deployment, and where they are not. Pure.

Each process *declares* what it runs with, in values fit to be shown to anybody: addresses without passwords, and of a
key no more than a short id (:func:`runtime.tokens.keys.key_id`).
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from executors.findings import Component, Finding, Severity
from runtime.config.settings import Settings
from runtime.config.values import after_login, masked
from runtime.version import VERSION

SCHEDULER = "scheduler"
DAG_PROCESSOR = "dag-processor"
API_SERVER = "api-server"
WORKER = "worker"
COMMAND = "this command"
"""``hybrid executors check`` itself: what it says of an executor holds for the settings that it has."""
MOST_SKEW = 5.0
"""Seconds between two clocks; tokens of log files are good for a minute."""
_ALL = frozenset({SCHEDULER, DAG_PROCESSOR, API_SERVER, WORKER, COMMAND})
_LONGEST = 300
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a1-\uffff]")


@dataclass(frozen=True, slots=True)
class Shared:
    """An option that some processes must agree on.

    :param read: its value as it is declared; ``None``: whoever declares gives it, or has none.
    """

    option: str
    kinds: frozenset[str]
    severity: Severity
    advice: str
    read: Callable[[Settings], str] | None = None


def _shared(severity: Severity, option: str, advice: str, *kinds: str, read: Callable[[Settings], str]) -> Shared:
    return Shared(option, frozenset(kinds) or _ALL, severity, advice, read)


SIGNING_KEY = "signing key"
LOG_KEY = "log key"
PARITY: tuple[Shared, ...] = (
    Shared(
        SIGNING_KEY,
        frozenset({SCHEDULER, API_SERVER}),
        Severity.ERROR,
        "no start is granted where they differ: give both the same [api_auth] jwt_secret, or the same jwt.key",
    ),
    Shared(
        LOG_KEY,
        frozenset({WORKER, COMMAND}),
        Severity.ERROR,
        "logs of hosts with another key cannot be read: give all the same [logging] worker_log_server_secret",
    ),
    _shared(
        Severity.ERROR,
        "[core] executor",
        "a task may name an executor that its scheduler does not have: write the same list everywhere",
        *(SCHEDULER, DAG_PROCESSOR, COMMAND),
        read=lambda settings: ", ".join(part.strip() for part in settings.core.executor.split(",")),
    ),
    _shared(
        Severity.ERROR,
        "[core] executor_routes",
        "a task goes where the scheduler of its run sends it: write the same rules everywhere",
        *(SCHEDULER, COMMAND),
        read=lambda settings: settings.core.executor_routes,
    ),
    _shared(
        Severity.WARNING,
        "[core] executor_fallback",
        "a task falls back as the scheduler of its run has it: write the same everywhere",
        *(SCHEDULER, COMMAND),
        read=lambda settings: settings.core.executor_fallback,
    ),
    _shared(
        Severity.ERROR,
        "[scheduler] task_instance_heartbeat_timeout",
        "a worker that is more patient than the scheduler may run on beside its replacement: make them equal",
        *(SCHEDULER, WORKER),
        read=lambda settings: f"{settings.scheduler.task_instance_heartbeat_timeout:g}",
    ),
    _shared(
        Severity.WARNING,
        "[scheduler] task_heartbeat_sec",
        "make them equal",
        *(SCHEDULER, WORKER),
        read=lambda settings: f"{settings.scheduler.task_heartbeat_sec:g}",
    ),
    _shared(
        Severity.ERROR,
        "[operators] default_queue",
        "tasks go to the DAG processor's, and workers read their own unless told otherwise: make them equal",
        *(SCHEDULER, DAG_PROCESSOR, WORKER),
        read=lambda settings: settings.operators.default_queue,
    ),
    _shared(
        Severity.ERROR,
        "[core] default_timezone",
        "dates without a zone mean different moments: make them equal",
        *(DAG_PROCESSOR, WORKER),
        read=lambda settings: settings.core.default_timezone,
    ),
    _shared(
        Severity.WARNING,
        "[core] execution_api_server_url",
        "fine where several addresses lead to one API server; else make them equal",
        *(SCHEDULER, WORKER),
        read=lambda settings: masked("url", settings.task_api_url),
    ),
    _shared(
        Severity.WARNING,
        "[logging] worker_log_server_port",
        "others ask each host at their own port: make them equal",
        *(SCHEDULER, WORKER, COMMAND),
        read=lambda settings: str(settings.logging.worker_log_server_port),
    ),
    _shared(
        Severity.WARNING,
        "[database] sql_alchemy_conn",
        "they have met in one database; make the addresses equal, so that they meet in the next one too",
        *(SCHEDULER, DAG_PROCESSOR, API_SERVER, COMMAND),
        read=lambda settings: _without_login(settings.database.sql_alchemy_conn),
    ),
    _shared(
        Severity.WARNING,
        "version of hybrid",
        "fine during an upgrade; else install one version everywhere",
        read=lambda _: VERSION,
    ),
    _shared(
        Severity.WARNING,
        "version of Python",
        "a DAG file may be read differently: use one minor version",
        *(SCHEDULER, DAG_PROCESSOR, WORKER),
        read=lambda _: f"{sys.version_info.major}.{sys.version_info.minor}",
    ),
)


def declare(settings: Settings, kind: str, keys: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process of this kind declares: option → value. No secrets.

    :param keys: ids of the keys that it has, by :data:`SIGNING_KEY` and :data:`LOG_KEY`.
    """
    own = [shared for shared in PARITY if kind in shared.kinds]
    found = {shared.option: _fit(shared.read(settings)) for shared in own if shared.read is not None}
    return found | {shared.option: keys[shared.option] for shared in own if keys and shared.option in keys}


def differences(components: Sequence[Component]) -> list[Finding]:
    """A finding for each option in which the processes that share it do not agree, and for each clock that is off.

    What is missing is no difference: an older version may not declare it. What they say is made fit to be printed.
    """
    return [*_options(components), *_clocks(components)]


def _options(components: Sequence[Component]) -> Iterator[Finding]:
    for shared in PARITY:
        said: dict[str, list[str]] = defaultdict(list)
        for component in components:
            value = component.declared.get(shared.option)
            if component.kind in shared.kinds and isinstance(value, str):
                said[_fit(value)].append(title(component))
        if len(said) > 1:
            groups = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))
            told = "; ".join(f"{value or 'nothing'} in {', '.join(who)}" for value, who in groups)
            yield Finding(shared.severity, "parity", f"{shared.option} is {told}. {_sentence(shared.advice)}")


def _clocks(components: Sequence[Component]) -> Iterator[Finding]:
    for component in components:
        offset = component.clock_offset
        if offset is not None and abs(offset) > MOST_SKEW:
            told = f"{abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}"
            text = f"the clock of {title(component)} is {told}. Tokens and schedules go wrong: have its host run NTP"
            yield Finding(Severity.WARNING, "parity", text)


def title(component: Component) -> str:
    """``scheduler host:pid``."""
    return _fit(f"{component.kind} {component.name}".strip())


def _sentence(advice: str) -> str:
    return advice[0].upper() + advice[1:]


def _fit(value: str) -> str:
    """In one line, and not for ever: it may be anybody's word."""
    line = _UNPRINTABLE.sub("?", " ".join(value.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _without_login(url: str) -> str:
    """Where a database is, without user, password and options."""
    scheme, separator, rest = url.partition("://")
    where = rest.partition("?")[0] if scheme == "sqlite" else after_login(url)[0]
    return f"{scheme.partition('+')[0]}{separator}{where}"
