"""A DAGs folder, the real store in a migrated database, and processors over both."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database
from runtime.db.schema import dag, import_error
from runtime.processing.processor import DagProcessor

EXECUTORS = "LocalExecutor, heavy:LocalExecutor"


class Folder:
    """A DAGs folder and what the store holds of it."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database
        self.store = DatabaseDagStore(database)

    def write(self, rel_path: str, text: str) -> None:
        path = self.path / rel_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def dag(self, rel_path: str, dag_id: str, body: str = "pass") -> None:
        """A file with one DAG."""
        self.write(rel_path, f"from runtime import DAG, EmptyOperator\nwith DAG({dag_id!r}):\n    {body}\n")

    def processor(self, **options) -> DagProcessor:
        options = {"refresh_interval": 5.0, "import_timeout": 20.0, **options}
        return DagProcessor(self.path, EXECUTORS, self.store, **options)

    @property
    def dags(self) -> dict[str, str]:
        """Active DAGs in the store: id → file."""
        with self.database.read() as connection:
            rows = connection.execute(select(dag.c.dag_id, dag.c.rel_path).where(dag.c.is_active))
            return {row.dag_id: row.rel_path for row in rows}

    @property
    def errors(self) -> dict[str, str]:
        """Import errors in the store: file → text."""
        with self.database.read() as connection:
            rows = connection.execute(select(import_error.c.rel_path, import_error.c.error))
            return {row.rel_path: row.error for row in rows}


@pytest.fixture
def folder(tmp_path, database):
    """An empty DAGs folder over an empty, migrated database of each kind."""
    path = tmp_path / "dags"
    path.mkdir()
    return Folder(path, database)
