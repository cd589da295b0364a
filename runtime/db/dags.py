"""Parsed DAG files: versions, import errors, and when each DAG's next run is due."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from runtime.core import specs
from runtime.core.clock import now as clock_now
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, ParsedFile
from runtime.core.timetables import DueRun, next_run
from runtime.db.bounds import too_large
from runtime.db.engine import Database
from runtime.db.schema import dag, dag_run, dag_version, import_error


class DatabaseDagStore:
    """Keeps what the DAG processor found. A DAG id belongs to the file that brought it first."""

    def __init__(self, database: Database, *, paused_at_creation: bool = True) -> None:
        self._database = database
        self._paused_at_creation = paused_at_creation

    def save(self, parsed: ParsedFile) -> None:
        """Store one file's DAGs, or its error. A DAG that the file no longer has becomes inactive."""
        self._database.transact(lambda connection: self._save(connection, parsed, clock_now()))

    def forget(self, rel_paths: Sequence[str]) -> None:
        """The files are gone: their DAGs become inactive, their errors are dropped."""
        with self._database.write() as connection:
            connection.execute(update(dag).where(dag.c.rel_path.in_(rel_paths)).values(is_active=False))
            connection.execute(delete(import_error).where(import_error.c.rel_path.in_(rel_paths)))

    def known_files(self) -> list[str]:
        """Files that the DB holds DAGs or errors of."""
        with self._database.read() as connection:
            dags = connection.execute(select(dag.c.rel_path).where(dag.c.is_active)).scalars()
            return sorted({*dags, *connection.execute(select(import_error.c.rel_path)).scalars()})

    def _save(self, connection: Connection, parsed: ParsedFile, at: int) -> None:
        error = parsed.error or too_large(parsed.dags) or self._claimed_elsewhere(connection, parsed)
        _store_error(connection, parsed.rel_path, error, at)
        if error is not None:
            # The last good version stays what it was: a typo in a file must not end the runs of its DAG.
            return
        for spec in sorted(parsed.dags, key=lambda spec: spec.dag_id):
            self._save_dag(connection, parsed, spec, at)
        names = [spec.dag_id for spec in parsed.dags]
        connection.execute(
            update(dag).where(dag.c.rel_path == parsed.rel_path, dag.c.dag_id.not_in(names)).values(is_active=False)
        )

    def _claimed_elsewhere(self, connection: Connection, parsed: ParsedFile) -> str | None:
        names = [spec.dag_id for spec in parsed.dags]
        row = connection.execute(
            select(dag.c.dag_id, dag.c.rel_path).where(
                dag.c.dag_id.in_(names), dag.c.is_active, dag.c.rel_path != parsed.rel_path
            )
        ).first()
        if row is None:
            return None
        return (
            f"DAG id {row.dag_id!r} is already defined in {row.rel_path}; "
            f"rename it there or in {parsed.rel_path}, or remove one of the files"
        )

    def _save_dag(self, connection: Connection, parsed: ParsedFile, spec: DagSpec, at: int) -> None:
        # Locked: a run that the scheduler creates now counts below, and two processors give no number twice.
        row = select(dag).where(dag.c.dag_id == spec.dag_id).with_for_update(key_share=True)
        present = connection.execute(row).first()
        values = {
            "rel_path": parsed.rel_path,
            "is_active": True,
            "schedule": spec.timetable.summary,
            "description": spec.description,
            "owner": spec.owner,
            "tags": json.dumps(list(spec.tags)),
            "max_active_runs": spec.max_active_runs,
            "last_parsed_at": at,
        }
        if present is None:
            paused = self._paused_at_creation if spec.is_paused_upon_creation is None else spec.is_paused_upon_creation
            connection.execute(insert(dag).values(dag_id=spec.dag_id, is_paused=paused, **values))
        else:
            connection.execute(update(dag).where(dag.c.dag_id == spec.dag_id).values(**values))
        changed = _save_version(connection, parsed, spec, at)
        if changed or present is None or not present.is_active:
            store_due_run(connection, spec.dag_id, due_run(connection, spec, at))


def due_run(connection: Connection, spec: DagSpec, at: int, *, after: int | None = None) -> DueRun | None:
    """The DAG's next scheduled run, counted from ``after``, else from the newest scheduled one that it has had."""
    if after is None:
        after = connection.execute(
            select(func.max(dag_run.c.logical_date)).where(
                dag_run.c.dag_id == spec.dag_id, dag_run.c.run_type == "scheduled"
            )
        ).scalar()
    return next_run(
        spec.timetable,
        after=after,
        start_date=spec.start_date,
        end_date=spec.end_date,
        catchup=spec.catchup,
        now=at,
    )


def store_due_run(connection: Connection, dag_id: str, due: DueRun | None) -> None:
    """Write down when the DAG's next run is due, for the scheduler's timer."""
    values = {
        "next_run_after": due and due.run_after,
        "next_logical_date": due and due.logical_date,
        "next_interval_end": due and due.data_interval_end,
    }
    connection.execute(update(dag).where(dag.c.dag_id == dag_id).values(values))


def _save_version(connection: Connection, parsed: ParsedFile, spec: DagSpec, at: int) -> bool:
    encoded = specs.encode(spec).decode()
    newest = connection.execute(
        select(dag_version)
        .where(dag_version.c.dag_id == spec.dag_id)
        .order_by(dag_version.c.version_number.desc())
        .limit(1)
    ).first()
    same = newest is not None and newest.file_hash == parsed.file_hash and newest.rel_path == parsed.rel_path
    if newest is not None and same and newest.spec == encoded:
        return False
    identifier = uuid7()
    connection.execute(
        insert(dag_version).values(
            id=identifier,
            dag_id=spec.dag_id,
            version_number=newest.version_number + 1 if newest else 1,
            rel_path=parsed.rel_path,
            file_hash=parsed.file_hash,
            spec=encoded,
            created_at=at,
        )
    )
    connection.execute(update(dag).where(dag.c.dag_id == spec.dag_id).values(version_id=identifier))
    return True


def _store_error(connection: Connection, rel_path: str, error: str | None, at: int) -> None:
    connection.execute(delete(import_error).where(import_error.c.rel_path == rel_path))
    if error is not None:
        connection.execute(insert(import_error).values(rel_path=rel_path, error=error, created_at=at))
