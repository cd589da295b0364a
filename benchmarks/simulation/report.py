"""The result as JSON for machines, and as one table for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.report import shown
from benchmarks.simulation.checks import SHOWN, Violation
from benchmarks.simulation.figures import Quantiles, Result

_HEAD = (
    "executor",
    "what",
    "slots",
    "attempts",
    "used",
    "used while wanted",
    "waited though free, ms: p50",
    "p99",
    "max",
)
_TEXT = 2
"""Columns of words; the others are numbers."""


def as_json(head: dict[str, Any], result: Result, violations: Sequence[Violation]) -> str:
    """One object: the head's keys, the result's, and the violations by kind."""
    by_kind = Counter(violation.kind for violation in violations)
    first = [violation.text for violation in violations[:SHOWN]]
    body = {**head, **result.to_json(), "violations": dict(sorted(by_kind.items())), "first_violations": first}
    return json.dumps(body, indent=2, ensure_ascii=False)


def as_table(result: Result, violations: Sequence[Violation]) -> str:
    """The whole simulation, then a line per executor, then what was violated."""
    return "\n".join([*_aligned(_summary(result)), "", *_aligned(_executors(result), _HEAD), *_told(violations)])


def _summary(result: Result) -> Iterable[tuple[str, str]]:
    first, last = result.pss_mib[0], result.pss_mib[-1]
    yield "task instances, attempts", f"{result.tasks:,}, {result.attempts:,}"
    yield "wall time, CPU time", f"{result.wall:.1f} s, {result.cpu:.1f} s: {shown(result.rate)} tasks/s of wall time"
    yield "of it in steps, with workers", f"{result.wall_steps:.1f} s, {result.wall_service:.1f} s"
    yield f"{result.steps:,} steps, ms", _quantiles(result.step_ms)
    yield "PSS, MiB", f"{first:.0f} → {last:.0f}, largest {max(result.pss_mib):.0f}"
    yield "simulated makespan", f"{result.makespan:,.0f} s; ideal {result.ideal:,.0f} s ({result.bound})"
    yield "Jain's index of used while wanted", f"{result.jain:.4f}"
    yield "what happened", ", ".join(f"{what} {count:,}" for what, count in result.happened.items())
    yield "digest of the decisions, of the end", f"{result.digest}, {result.end_digest}"


def _executors(result: Result) -> Iterable[tuple[str, ...]]:
    for one in result.executors:
        wanted = "-" if one.used_while_wanted is None else f"{one.used_while_wanted:.1%}"
        waits = (shown(value) for value in (one.waited.p50, one.waited.p99, one.waited.max))
        slots = f"{one.slots:,}" if one.slots else "no limit"
        yield (one.name, one.what, slots, f"{one.attempts:,}", f"{one.used:.1%}", wanted, *waits)


def _told(violations: Sequence[Violation]) -> Iterable[str]:
    if not violations:
        return ["", "no invariant was violated"]
    told = ["", f"{len(violations):,} VIOLATIONS"]
    for kind, count in sorted(Counter(violation.kind for violation in violations).items()):
        told.append(f"  {kind}: {count:,}")
        told += [f"    {one.text}" for one in [v for v in violations if v.kind == kind][:SHOWN]]
    return told


def _quantiles(values: Quantiles) -> str:
    return f"p50 {shown(values.p50)}, p95 {shown(values.p95)}, p99 {shown(values.p99)}, max {shown(values.max)}"


def _aligned(rows: Iterable[tuple[str, ...]], head: tuple[str, ...] | None = None) -> list[str]:
    """Words to the left; the numbers of a table with a ``head`` to the right."""
    lines = [*([head] if head else []), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(_cell(cell, n, widths[n], head) for n, cell in enumerate(line)).rstrip() for line in lines]


def _cell(text: str, column: int, width: int, head: object) -> str:
    return text.rjust(width) if head and column >= _TEXT else text.ljust(width)
