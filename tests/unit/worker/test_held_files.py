"""What a worker keeps of the DAG files that it has imported."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from runtime.worker.code import CodeCache
from runtime.worker.settings import WorkerSettings

SOURCE = """
from runtime import DAG, task

with DAG("d{number}"):

    @task
    def one():
        return {number}

    one()
"""


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(WorkerSettings(str(tmp_path), str(tmp_path), max_files=2))


def load(cache: CodeCache, folder: Path, name: str, number: int) -> str:
    """Write that version of the file and have it held; its hash."""
    source = SOURCE.format(number=number)
    (folder / name).write_text(source)
    file_hash = hashlib.sha256(source.encode()).hexdigest()
    loaded = cache.get(name, file_hash)
    assert loaded is not None
    assert loaded.file_hash == file_hash
    return file_hash


def modules(folder: Path) -> list[str]:
    """Files of that folder that are imported modules, once per version."""
    files = (str(getattr(module, "__file__", "")) for module in list(sys.modules.values()))
    return sorted(Path(file).name for file in files if file.startswith(str(folder)))


def test_files_that_left_are_not_kept_as_modules(cache: CodeCache, tmp_path: Path) -> None:
    """Else a worker would hold every file that it has ever seen."""
    for number in range(5):
        load(cache, tmp_path, f"f{number}.py", number)
    assert sorted(cache.held()) == modules(tmp_path) == ["f3.py", "f4.py"]


def test_versions_that_were_replaced_are_not_kept_as_modules(cache: CodeCache, tmp_path: Path) -> None:
    for number in range(3):
        load(cache, tmp_path, "f.py", number)
    assert modules(tmp_path) == ["f.py"]
    assert cache.held()["f.py"].dags.keys() == {"d2"}


def test_a_held_version_that_is_imported_again_stays_a_module(cache: CodeCache, tmp_path: Path) -> None:
    """Because what it imports has changed, say: its module has the same name."""
    file_hash = load(cache, tmp_path, "f.py", 1)
    cache._load("f.py")
    assert cache.held()["f.py"].file_hash == file_hash
    assert modules(tmp_path) == ["f.py"]
