"""Makes a process as large as a warm worker: the same modules, and the DAG file of the workloads, loaded its way."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plan import DAG_FILE, DAGS
from runtime.worker import warm
from runtime.worker.code import CodeCache
from runtime.worker.settings import read_settings

_kept: list[object] = [warm]


def grow_to_worker_size(folder: Path) -> None:
    """Load what a worker holds before it forks. Raises ``RuntimeError`` where the DAG file cannot be imported."""
    code = CodeCache(read_settings({"dags_folder": str(DAGS), "base_log_folder": str(folder)}))
    if code.get(DAG_FILE, "") is None:
        raise RuntimeError(f"{DAGS / DAG_FILE} cannot be imported")
    _kept.append(code)
