"""Two small languages: ``[core] executor_routes`` and ``[core] executor_fallback``. Text in, frozen rules out. Pure.

::

    routes    := [rule ((";" | newline) rule)*]                 the first rule that matches counts
    rule      := condition ("," condition)* "->" executor ("," executor)*
    condition := ("queue" | "pool" | "tag" | "dag_id" | "task_id") "=" pattern ("|" pattern)*
    pattern   := a name, where * and ? stand for anything

    fallback  := "none" | condition ("," condition)*
    condition := "unavailable" | "full" | "queued_longer_than=" seconds
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from runtime.core.errors import ConfigError
from runtime.core.specs import DagSpec, TaskSpec

FIELDS = ("queue", "pool", "tag", "dag_id", "task_id")
_CONDITION = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(.*?)\s*", re.DOTALL)
_ROUTES = "[core] executor_routes"
_FALLBACK = "[core] executor_fallback"


@dataclass(frozen=True, slots=True)
class Condition:
    """``field`` of a task is like one of ``patterns``."""

    field: str
    patterns: tuple[str, ...]

    def matches(self, dag: DagSpec, task: TaskSpec) -> bool:
        return any(fnmatchcase(value, pattern) for value in _values(self.field, dag, task) for pattern in self.patterns)

    def __str__(self) -> str:
        return f"{self.field}={'|'.join(self.patterns)}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where tasks go that fulfil all ``conditions`` and say nothing themselves."""

    conditions: tuple[Condition, ...]
    executors: tuple[str, ...]
    """As written: the first, and those that it falls back to."""

    def matches(self, dag: DagSpec, task: TaskSpec) -> bool:
        return all(condition.matches(dag, task) for condition in self.conditions)

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.conditions))} -> {', '.join(self.executors)}"


@dataclass(frozen=True, slots=True)
class FallbackPolicy:
    """When a task leaves an executor of its chain for the next one."""

    unavailable: bool = False
    """The executor cannot be reached, is paused or drains."""
    full: bool = False
    """It has no free slot."""
    queued_longer_than: float = math.inf
    """Seconds for which an attempt has waited there without being started."""

    def __str__(self) -> str:
        words = [word for word, holds in (("unavailable", self.unavailable), ("full", self.full)) if holds]
        if self.queued_longer_than < math.inf:
            words.append(f"queued_longer_than={self.queued_longer_than:g}")
        return ", ".join(words) or "none"


def parse_routes(value: str) -> tuple[Rule, ...]:
    """Raises :class:`ConfigError` for the first bad rule, with its number, what is wrong and what to write."""
    texts = [text.strip() for text in re.split(r"[;\n]", value)]
    return tuple(_parse_rule(number, text) for number, text in enumerate(filter(None, texts), 1))


def parse_fallback(value: str) -> FallbackPolicy:
    """Raises :class:`ConfigError`."""
    words = [word.strip() for word in value.split(",") if word.strip()]
    if words in ([], ["none"]):
        return FallbackPolicy()
    unavailable = full = False
    longest = math.inf
    for word in words:
        name, _, seconds = word.partition("=")
        if word == "unavailable":
            unavailable = True
        elif word == "full":
            full = True
        elif name.strip() == "queued_longer_than":
            longest = _seconds(seconds.strip())
        else:
            raise ConfigError(
                f"{_FALLBACK}: {word[:80]!r} is none of unavailable, full, queued_longer_than=SECONDS, none"
            )
    return FallbackPolicy(unavailable, full, longest)


def _parse_rule(number: int, text: str) -> Rule:
    where = f"{_ROUTES}, rule {number} {text[:80]!r}"
    head, arrow, tail = text.partition("->")
    if not arrow:
        raise ConfigError(f"{where}: no '->'; write queue=gpu -> k8s, for example")
    conditions = tuple(_parse_condition(where, part) for part in head.split(","))
    executors = tuple(name.strip() for name in tail.split(","))
    if not all(executors):
        raise ConfigError(f"{where}: an executor's name is missing after '->'")
    if len(set(executors)) < len(executors):
        raise ConfigError(f"{where}: an executor is named twice")
    return Rule(conditions, executors)


def _parse_condition(where: str, text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where}: {text.strip()[:80]!r} is no condition; write one of {', '.join(FIELDS)} = pattern")
    field, patterns = match[1], tuple(part.strip() for part in match[2].split("|"))
    if field not in FIELDS:
        raise ConfigError(f"{where}: tasks have no {field!r} to go by; there are {', '.join(FIELDS)}")
    if not all(patterns):
        raise ConfigError(f"{where}: {field}= has an empty pattern; * stands for anything")
    return Condition(field, patterns)


def _values(field: str, dag: DagSpec, task: TaskSpec) -> Sequence[str]:
    if field == "tag":
        return dag.tags
    return (dag.dag_id if field == "dag_id" else str(getattr(task, field)),)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise ConfigError(f"{_FALLBACK}: queued_longer_than={text[:80]} is no positive number of seconds")
    return value
