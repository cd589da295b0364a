"""What an operator should know of an executor, its backend and its workers: for ``hybrid executors check``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """``ERROR``: something does not work, or is open to others. ``WARNING``: it works, and may not stay well."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, where, what to do, in one line without secrets."""

    severity: Severity
    about: str
    """A word: ``backend``, ``broker``, ``workers``, ``rights``, ``image``, ``settings``, ``parity``, ``components``."""
    text: str


@dataclass(frozen=True, slots=True)
class Component:
    """A process of the deployment, and what it says it runs with."""

    kind: str
    """``scheduler``, ``worker``, …"""
    name: str
    """For people, such as ``celery@host``."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Of an executor's workers: :attr:`executors.context.ExecutorContext.declared`, as the worker's host made it."""
    clock_offset: float | None = None
    """Seconds by which its clock is ahead of whoever asked; ``None`` where that is not known."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What an executor knows when it is asked."""

    findings: tuple[Finding, ...] = ()
    workers: tuple[Component, ...] = ()
    """Those that answered. What they say came over the backend: it may be anybody's word."""
    readers: Mapping[str, int] | None = None
    """Queue, as tasks call it → how many workers read it. ``None``: it has no such queues, or nobody could be asked."""


def errors(about: str, *texts: str | None) -> tuple[Finding, ...]:
    """An error for each text that is not empty."""
    return tuple(Finding(Severity.ERROR, about, text) for text in texts if text)


def warnings(about: str, *texts: str | None) -> tuple[Finding, ...]:
    """A warning for each text that is not empty."""
    return tuple(Finding(Severity.WARNING, about, text) for text in texts if text)
