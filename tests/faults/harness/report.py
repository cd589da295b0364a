"""What a run of the harness says in the end: a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.plan import by_kind, plain
from harness.recovery import percentile
from harness.strikes import Struck
from harness.verdict import Verdict


@dataclass(frozen=True)
class Report:
    """The outcome. Durations in seconds."""

    command: str
    seed: int
    attempts: int
    repeated: int
    """Of them, those that the faults took and that ran again."""
    struck: Sequence[Struck]
    missed: int
    """Faults of the plan that found nothing to strike."""
    recoveries: Sequence[tuple[Struck, float]]
    verdict: Verdict
    seconds: float
    ended_by_themselves: int
    """Daemons that ended though nobody had killed them, and were started again."""
    hosts: bool

    def data(self) -> dict[str, Any]:
        """As JSON shows it."""
        seconds = [value for _, value in self.recoveries]
        return {
            "command": self.command,
            "seed": self.seed,
            "attempts": self.attempts,
            "repeated": self.repeated,
            "faults": len(self.struck),
            "faults_by_kind": by_kind([struck.fault for struck in self.struck]),
            "missed": self.missed,
            **self.verdict.counts(),
            "recovery_p50": _rounded(percentile(seconds, 0.5)),
            "recovery_p95": _rounded(percentile(seconds, 0.95)),
            "recovery_p95_by_target": self._by_target(),
            "ended_by_themselves": self.ended_by_themselves,
            "hosts_of_their_own": self.hosts,
            "seconds": _rounded(self.seconds),
            "violations": self.verdict.lines(),
        }

    def json(self) -> str:
        return json.dumps(self.data(), indent=2)

    def table(self) -> str:
        """Two columns, the violations below."""
        data = self.data()
        rows = [
            ("attempts", data["attempts"]),
            ("  taken by faults and repeated", data["repeated"]),
            ("faults", data["faults"]),
            *((f"  {kind}", count) for kind, count in data["faults_by_kind"].items()),
            *(((word, data[word])) for word in ("lost", "doubled", "wrong", "leaked")),
            ("recovery p50", _seconds(data["recovery_p50"])),
            ("recovery p95", _seconds(data["recovery_p95"])),
            *((f"  {target} p95", _seconds(value)) for target, value in data["recovery_p95_by_target"].items()),
            ("faults without a target", data["missed"]),
            ("daemons that ended by themselves", data["ended_by_themselves"]),
            ("seconds", f"{data['seconds']:.0f}"),
            ("seed", data["seed"]),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:{width}}  {value!s:>10}" for name, value in rows]
        return "\n".join([self.command, "", *lines, "", *data["violations"]]).rstrip()

    def _by_target(self) -> dict[str, float | None]:
        grouped: dict[str, list[float]] = defaultdict(list)
        for struck, seconds in self.recoveries:
            grouped[plain(struck.fault.kind.target)].append(seconds)
        return {target: _rounded(percentile(values, 0.95)) for target, values in sorted(grouped.items())}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} s"
