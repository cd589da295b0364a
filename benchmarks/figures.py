"""What is measured, and what is asked of it (design §9)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Gate:
    """What a median must reach (``gate``), what it should (``aim``); one of them may be ``None``."""

    gate: float | None
    aim: float | None
    higher_is_better: bool = False
    peer: str = ""
    """What Airflow 3.3.2, tuned, does of the same on a machine of this kind; not measured in this run."""

    def verdict(self, value: float) -> str:
        """``aim`` or ``ok``: that is reached. ``MISSED``: not even the gate. ``below``: not the aim, and no gate."""
        if self.aim is not None and self._reached(value, self.aim):
            return "aim"
        if self.gate is None:
            return "below"
        return "ok" if self._reached(value, self.gate) else "MISSED"

    def _reached(self, value: float, mark: float) -> bool:
        return value >= mark if self.higher_is_better else value <= mark


GATES = {
    "local.fan_out": Gate(250, 400, higher_is_better=True, peer="7.0-8.7"),
    "local.of_skeleton": Gate(60, None, higher_is_better=True),
    "local.chain": Gate(8, 5.5, peer="270-300 (1,050 as shipped)"),
    "local.many": Gate(None, None, peer="7.9-8.2"),
    "reuse.fan_out": Gate(None, 1000, higher_is_better=True),
    "null.fan": Gate(3000, 5000, higher_is_better=True, peer="considers 500-1,000"),
    "null.layers": Gate(3000, 5000, higher_is_better=True, peer="considers 500-1,000"),
    "large.ratio": Gate(1.3, None, peer="grows"),
    "memory.growth": Gate(5, 1),
    "schedulers.ratio": Gate(1, None, higher_is_better=True),
    "startup.ready": Gate(2, None, peer="10-12"),
    "startup.first_green": Gate(3, None, peer="14"),
    "startup.version": Gate(120, None, peer="1,600-2,100"),
    "task_api.sqlite.attempts": Gate(200, None, higher_is_better=True),
    "task_api.sqlite.heartbeats": Gate(800, None, higher_is_better=True),
    "task_api.sqlite.report": Gate(20, None),
    "task_api.cold": Gate(350, None),
    "task_api.postgresql.attempts": Gate(200, None, higher_is_better=True),
    "task_api.postgresql.heartbeats": Gate(800, None, higher_is_better=True),
    "task_api.postgresql.report": Gate(20, None),
    "celery.fan_out": Gate(100, 150, higher_is_better=True, peer="1.7-4.3"),
    "celery.of_bare": Gate(20, None, higher_is_better=True),
    "celery.chain": Gate(25, None, peer="380"),
    "celery.publish": Gate(40, None, peer="4,000 (10 with a pool that is kept)"),
    "celery.heartbeat": Gate(50, None),
    "kubernetes.submit": Gate(200, None, higher_is_better=True),
    "kubernetes.dispatch": Gate(100, None),
    "kubernetes.watch": Gate(2000, None, higher_is_better=True),
    "kubernetes.heartbeat": Gate(50, None),
    "kubernetes.heartbeat_hung": Gate(50, None),
    "idle.cpu": Gate(1, None, peer="24 (4 as shipped)"),
    "idle.pss": Gate(250, None, peer="962 (783 as shipped)"),
}
"""By figure. ``memory.growth``, "flat" in the design, is what the noise of the measurement leaves."""


@dataclass(frozen=True)
class Figure:
    """One thing that was measured ``len(values)`` times. Raises ``ValueError`` without a value."""

    key: str
    """``family.name``; the gate is found by it."""
    title: str
    unit: str
    values: tuple[float, ...]
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else was learnt, for the JSON."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.key} has no values")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def gate(self) -> Gate:
        return GATES.get(self.key, Gate(None, None))

    @property
    def verdict(self) -> str:
        """As :meth:`Gate.verdict`; empty where nothing is asked."""
        gate = self.gate
        return "" if gate.gate is None and gate.aim is None else gate.verdict(self.median)

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to six significant digits."""
        gate = self.gate
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            **summary(self.values),
            "values": [significant(value) for value in self.values],
            "gate": gate.gate,
            "aim": gate.aim,
            "verdict": self.verdict or None,
            "details": self.details,
        }


def summary(values: Sequence[float]) -> dict[str, float]:
    """``median, min, max, n`` of at least one value."""
    return {
        "median": significant(statistics.median(values)),
        "min": significant(min(values)),
        "max": significant(max(values)),
        "n": len(values),
    }


def significant(value: float) -> float:
    """Six significant digits: more would pretend."""
    return float(f"{value:.6g}")
