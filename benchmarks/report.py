"""The figures as JSON for machines and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.breakdown import PHASES
from benchmarks.figures import Figure

COLUMNS = ("what", "unit", "median", "min", "max", "n", "gate", "aim", "", "Airflow 3.3.2 *")
FOOTNOTE = "* tuned, measured apart on a machine of this kind: benchmarks/README.md"


def as_json(head: dict[str, Any], figures: Sequence[Figure], failures: dict[str, str]) -> str:
    """One object: the head's keys, ``figures`` and ``failures`` (family → error)."""
    body = {**head, "figures": [figure.to_json() for figure in figures], "failures": failures}
    return json.dumps(body, indent=2, ensure_ascii=False)


def as_table(head: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Machine, a line per figure, and where the time of the deployments' runs went."""
    lines = [_machine(head), "", *_aligned([COLUMNS, *(_row(figure) for figure in figures)]), FOOTNOTE]
    for figure in figures:
        if "breakdown_ms" in figure.details:
            lines += ["", *_where_time_goes(figure)]
        elif spent := figure.details.get("cpu_ms_per_attempt"):
            lines += ["", f"{figure.title.strip()}: CPU ms per attempt {shown(spent['median'])}"]
    return "\n".join(lines)


def _machine(head: dict[str, Any]) -> str:
    machine, revision = head["machine"], head["revision"]
    commit = (revision["commit"] or "no git")[:12] + (" with changes" if revision["modified"] else "")
    load = " ".join(str(value) for value in head["load_average_before"])
    return (
        f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"{machine['file_system']}\nPython {machine['python']}, SQLite {machine['sqlite']}, SQLAlchemy "
        f"{machine['sqlalchemy']}, {commit}\nload average before: {load}"
    )


def _row(figure: Figure) -> tuple[str, ...]:
    gate = figure.gate
    sign = "≥" if gate.higher_is_better else "≤"
    marks = ("" if mark is None else f"{sign} {shown(mark)}" for mark in (gate.gate, gate.aim))
    values = (shown(value) for value in (figure.median, min(figure.values), max(figure.values)))
    return (figure.title, figure.unit, *values, str(len(figure.values)), *marks, figure.verdict, gate.peer)


def shown(value: float) -> str:
    """Three digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    numeric = range(2, 8)
    return [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _where_time_goes(figure: Figure) -> list[str]:
    details = figure.details
    known = [(phase, details["breakdown_ms"][phase]) for phase in PHASES if phase in details["breakdown_ms"]]
    lines = [f"where the time of {figure.title.strip()} goes, median ms (min-max)"]
    lines += [f"  {phase:<22}{shown(of['median']):>9}   ({shown(of['min'])}-{shown(of['max'])})" for phase, of in known]
    cpu = details["cpu_ms_per_task"]
    roles = ", ".join(f"{role} {shown(spent)}" for role, spent in cpu.items() if spent >= 0.01)
    lines.append(f"  CPU ms per task       {shown(sum(cpu.values())):>9}   {roles}")
    lines.append(f"  attempts at once      {shown(details['attempts_at_once']['median']):>9}")
    return lines
