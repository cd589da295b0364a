"""What the machine itself can do with processes as large as a warm worker: the figures to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, significant
from benchmarks.plan import Plan
from benchmarks.processes import run_json


def limits(plan: Plan) -> Iterator[Figure]:
    """Forks per second: one forker, two at once."""
    sizes = plan.sizes
    with plan.folder("limits") as folder:
        found = run_json("benchmarks.forking", str(folder), str(sizes.forks), str(sizes.repeats), scratch=folder)
    details = {"rss_mib": significant(found["rss_mib"])}
    yield Figure("limits.fork", "fork + _exit + wait, worker size", "forks/s", tuple(found["serial"]), details)
    yield Figure("limits.two_forkers", "  two forkers at once", "forks/s", tuple(found["two"]), details)


def run_skeleton(plan: Plan, scratch: Path) -> tuple[float, float]:
    """Attempts per second and CPU ms per attempt of :mod:`benchmarks.skeleton`, with the size of the fan-out."""
    with tempfile.TemporaryDirectory(prefix="skeleton-", dir=scratch) as folder:
        found = run_json("benchmarks.skeleton", folder, str(plan.sizes.fan_out), scratch=Path(folder))
    return float(found["rate"]), float(found["cpu_ms"])
