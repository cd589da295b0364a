"""The whole seam between an executor and its host: everything it may know of, or ask from, the outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from executors.errors import ExecutorConfigError
from executors.workload import TaskInstanceKey


class Stats(Protocol):
    """Where gauges and timings go. Must not block or raise."""

    def gauge(self, name: str, value: float) -> None: ...
    def incr(self, name: str, count: int = 1) -> None: ...
    def timing(self, name: str, seconds: float) -> None: ...


class NoStats:
    """Counts nothing."""

    def gauge(self, name: str, value: float) -> None:
        """Drop it."""

    def incr(self, name: str, count: int = 1) -> None:
        """Drop it."""

    def timing(self, name: str, seconds: float) -> None:
        """Drop it."""


TaskService = Callable[[Sequence[bytes]], list[bytes]]
"""Answers a batch of requests of worker processes, in order, in one transaction. Opaque to executors: they carry the
bytes between their worker and the host. Blocks for one database transaction, or for as long as the host waits for its
database. Raises :class:`~executors.errors.TaskServiceAwayError`, which is no failure of the executor: it keeps the
requests and sends them with its next heartbeat. Raises nothing else."""


def no_task_service(requests: Sequence[bytes]) -> list[bytes]:
    """The service of a host that has none: every request gets the empty answer."""
    return [b"" for _ in requests]


@dataclass(frozen=True)
class ExecutorContext:
    """Handed to an executor's constructor as ``context``. The default one serves tests and scripts."""

    name: str = ""
    """The instance's name: its alias, else its target as written. Empty: the class's own name."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its own section, resolved: ``[conf_section]`` overlaid with ``[conf_section:alias]``, environment included."""
    stats: Stats = field(default_factory=NoStats)
    task_service: TaskService = no_task_service
    worker_entry: str = ""
    """``module:function`` that a warm worker process of this host runs; empty where the host has none."""
    worker_config: Mapping[str, str] = field(default_factory=dict)
    """Plain settings for that entry (home, folders, limits); no secrets."""
    remote_worker_entry: str = ""
    """``module:function`` for workers of other hosts: called with ``worker_config``, it makes an object whose
    ``run(attempt_id, ticket)`` runs one attempt over the task API and returns ``(ok, reason)``; empty where the host
    has none. A worker takes it from its own configuration, never from a message."""
    declared: Callable[[], Mapping[str, str]] = dict
    """What the host runs with, by option, fit to be shown to anybody: a worker tells it whoever asks over its backend,
    so that differences between hosts are found (:class:`~executors.findings.Component`). Thread-safe; blocks for a look
    into files at most; raises nothing."""
    callback_sink: Callable[[str], None] | None = None
    """Takes a :class:`~executors.callbacks.CallbackRequest` as JSON. Thread-safe, cheap, never blocks."""
    log_sink: Callable[[TaskInstanceKey, str], None] | None = None
    """Keeps what a launch has printed as its attempt's log on this host, where the host has none yet. Thread-safe;
    blocks for one file; raises nothing."""
    clock: Callable[[], float] = time.time
    wake: Callable[[], None] = lambda: None
    """Asks the host for a heartbeat soon. Thread-safe, cheap, never blocks."""

    def integer(self, option: str, default: int, minimum: int = 0) -> int:
        """Read a whole-number option. Raises :class:`ExecutorConfigError` that names the option."""
        raw = self.options.get(option)
        if raw is None or raw.strip() == "":
            return default
        try:
            value = int(raw)
        except ValueError:
            raise ExecutorConfigError(f"{self.name}: option {option} = {raw!r} is not a whole number") from None
        if value < minimum:
            raise ExecutorConfigError(f"{self.name}: option {option} = {value} is below {minimum}")
        return value

    def text(self, option: str, default: str, choices: Sequence[str] = ()) -> str:
        """Read a text option. Raises :class:`ExecutorConfigError` where it is none of ``choices``."""
        value = self.options.get(option, default).strip() or default
        if choices and value not in choices:
            raise ExecutorConfigError(f"{self.name}: option {option} = {value!r} is none of {', '.join(choices)}")
        return value
