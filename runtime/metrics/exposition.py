"""The figures of all processes as Prometheus reads them. Only the API server imports this.

A figure ``a.b`` is ``hybrid_a_b``; a counter ends in ``_total``; a timing is a histogram in ``_seconds``, and its
longest is in ``_seconds_max``. A figure of an executor has its name in the label ``executor``, and every one says in
which process it was counted: ``scheduler="host:pid"``, or ``component="api-server host:pid"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.samples import Sample

from runtime.metrics.catalogue import find
from runtime.metrics.collector import BUCKETS, ProcessFigures

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "hybrid_"
_UNFIT = re.compile(r"[^a-zA-Z0-9_]")
_OPEN_SLOTS = "executor.open_slots."
_FOREIGN = "Emitted by an executor or a plug-in."


def render(processes: Sequence[ProcessFigures]) -> bytes:
    """The page for a scrape. What somebody else's code made unfit is left out, never an error."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(processes))
    return generate_latest(registry)


class _Figure(NamedTuple):
    """One figure of one process, with its place on the page."""

    family: str
    kind: str
    help: str
    labels: dict[str, str]
    value: Any
    is_ours: bool


class _Page:
    def __init__(self, processes: Sequence[ProcessFigures]) -> None:
        self._processes = processes
        self._families: dict[str, Metric] = {}
        self._seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()

    def collect(self) -> Iterable[Metric]:
        figures = [figure for process in self._processes for figure in _figures(process)]
        # Ours first: a name that somebody else's figure shares with one of them is ours.
        for figure in sorted(figures, key=lambda figure: not figure.is_ours):
            with suppress(TypeError, ValueError, KeyError):
                self._add(figure)
        return sorted(self._families.values(), key=lambda family: family.name)

    def _add(self, figure: _Figure) -> None:
        name, labels, value = figure.family, figure.labels, figure.value
        if figure.kind != "timing":
            suffix = "_total" if figure.kind == "counter" else ""
            self._extend(name, figure.kind, figure.help, [Sample(name + suffix, labels, float(value))])
            return
        longest = [Sample(f"{name}_seconds_max", labels, float(value["max"]))]
        self._extend(f"{name}_seconds", "histogram", figure.help, list(_histogram(f"{name}_seconds", labels, value)))
        self._extend(f"{name}_seconds_max", "gauge", f"The longest since the process began. {figure.help}", longest)

    def _extend(self, name: str, kind: str, help_text: str, samples: list[Sample]) -> None:
        family = self._families.setdefault(name, Metric(name, help_text, kind))
        if family.type != kind:
            return
        for sample in samples:
            identity = (sample.name, tuple(sorted(sample.labels.items())))
            if identity not in self._seen:
                self._seen.add(identity)
                family.samples.append(sample)


def _figures(process: ProcessFigures) -> Iterator[_Figure]:
    gauges = _part(process.snapshot, "gauges")
    executors = {name.removeprefix(_OPEN_SLOTS) for name in gauges if name.startswith(_OPEN_SLOTS)}
    for kind in ("gauge", "counter", "timing"):
        for name, value in _part(process.snapshot, f"{kind}s").items():
            known, executor = find(name)
            if known is None and name.rpartition(".")[2] in executors:
                executor = name.rpartition(".")[2]
            stem = name if executor is None else name.removesuffix(f".{executor}")
            labels = {} if executor is None else {"executor": executor}
            yield _Figure(
                family=PREFIX + _UNFIT.sub("_", stem),
                kind=kind,
                help=known.meaning if known else _FOREIGN,
                labels={**labels, **process.labels},
                value=value,
                is_ours=known is not None and known.kind == kind,
            )


def _part(snapshot: Any, part: str) -> dict[str, Any]:
    found = snapshot.get(part) if isinstance(snapshot, dict) else None
    return found if isinstance(found, dict) else {}


def _histogram(name: str, labels: dict[str, str], timing: dict[str, Any]) -> Iterator[Sample]:
    reached = 0
    for bound, count in zip((*map(repr, BUCKETS), "+Inf"), timing["buckets"], strict=True):
        reached += count
        yield Sample(f"{name}_bucket", {**labels, "le": bound}, float(reached))
    yield Sample(f"{name}_count", labels, float(timing["count"]))
    yield Sample(f"{name}_sum", labels, float(timing["sum"]))
