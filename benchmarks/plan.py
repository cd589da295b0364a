"""What a run of the benchmarks does: sizes, repeats, and where homes are made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DAGS = Path(__file__).parent / "dags"
DAG_FILE = "workloads.py"


@dataclass(frozen=True)
class Sizes:
    """How much is run; durations in seconds. The defaults are those of the published figures."""

    repeats: int = 5
    """Measured runs of each workload, after one warm-up run."""
    fan_out: int = 200
    chain: int = 30
    many_runs: int = 20
    many_tasks: int = 10
    small_parallelism: int = 4
    null_tasks: int = 5_000
    small_dag: int = 100
    large_dag: int = 10_000
    memory_runs: int = 50
    memory_tasks: int = 1_000
    shared_runs: int = 20
    """Waiting at once for one scheduler, and for two."""
    shared_tasks: int = 500
    forks: int = 1_000
    """Forks of each forker in one repeat."""
    version_calls: int = 20
    api_attempts: int = 2_000
    """Started and finished over HTTP in one repeat."""
    api_heartbeats: int = 8_000
    api_chain: int = 200
    """Tasks of the chain whose steps are timed from report to dispatch."""
    celery_publishes: int = 32
    celery_running: int = 5_000
    kubernetes_pods: int = 400
    """Submitted, and watched until they run, in one repeat."""
    kubernetes_dispatches: int = 60
    """One after the other, in one repeat."""
    kubernetes_running: int = 1_000
    kubernetes_hang_seconds: float = 30.0
    settle_seconds: float = 15.0
    """Between the last task and the idle measurement: surplus workers leave, first parses end."""
    idle_seconds: float = 30.0
    idle_windows: int = 3


QUICK = Sizes(
    repeats=1,
    fan_out=40,
    chain=8,
    many_runs=4,
    null_tasks=300,
    large_dag=1_000,
    memory_runs=6,
    memory_tasks=100,
    shared_runs=4,
    shared_tasks=50,
    forks=100,
    version_calls=3,
    api_attempts=100,
    api_heartbeats=300,
    api_chain=10,
    celery_running=500,
    kubernetes_pods=40,
    kubernetes_dispatches=10,
    kubernetes_running=100,
    kubernetes_hang_seconds=2.0,
    settle_seconds=1.0,
    idle_seconds=2.0,
    idle_windows=1,
)
"""Whether everything works; its figures are not for quoting."""


@dataclass(frozen=True)
class Plan:
    """:param keep: folder where the homes stay for a later look; ``None``: they are temporary."""

    sizes: Sizes = field(default_factory=Sizes)
    keep: Path | None = None

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new folder called after ``name``."""
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            yield Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.keep))
            return
        with tempfile.TemporaryDirectory(prefix=f"hybrid-bench-{name}-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
