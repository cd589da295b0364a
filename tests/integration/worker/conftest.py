"""Workers that end with their test, and leave no process behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_end import MemoryService, WorkerEnd, alive, eventually, orphans, orphans_adopted

HERE = Path(__file__).parent


@pytest.fixture
def notes(tmp_path: Path, monkeypatch) -> Path:
    """Where tasks leave files for the test."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("NOTES", str(folder))
    return folder


@pytest.fixture
def hire(tmp_path: Path, notes: Path) -> Iterator:
    """Start workers on a folder with ``tasks_under_test.py`` as ``dag.py``; afterwards no descendant may be left."""
    (tmp_path / "dags").mkdir()
    shutil.copy(HERE / "tasks_under_test.py", tmp_path / "dags" / "dag.py")
    workers: list[WorkerEnd] = []

    def start(service: MemoryService | None = None, **config) -> WorkerEnd:
        workers.append(WorkerEnd(tmp_path, service or MemoryService(), **config))
        return workers[-1]

    with orphans_adopted():
        yield start
        for worker in workers:
            worker.close()
        eventually(lambda: not orphans())


@pytest.fixture
def worker(hire) -> WorkerEnd:
    """One with a short grace."""
    return hire(killed_task_cleanup_time=5)


@pytest.fixture
def pids(notes: Path):
    """Reads the processes that a task has noted."""
    return lambda: [int(line) for line in (notes / "pids").read_text().split()]


@pytest.fixture
def is_alive():
    return alive
