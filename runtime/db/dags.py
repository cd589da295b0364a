"""Parsed DAG files: versions, import errors, and when each DAG's next run is due."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from runtime.core import specs
from runtime.core.clock import now as clock_now
from runtime.core.ids import uuid7
from runtime.core.specs import DagSpec, ParsedFile
from runtime.core.timetables import DueRun, next_run
from runtime.db.bounds import too_large
from runtime.db.engine import Database
from runtime.db.plans import planned_ahead, planned_due, want_plan
from runtime.db.pools import warnings_of
from runtime.db.runs import require_dag
from runtime.db.schema import dag, dag_run, dag_version, import_error

log = logging.getLogger(__name__)


class DatabaseDagStore:
    """Keeps what the DAG processor found. A DAG id belongs to the file that brought it first."""

    def __init__(self, database: Database, *, paused_at_creation: bool = True) -> None:
        self._database = database
        self._paused_at_creation = paused_at_creation

    def save(self, parsed: ParsedFile) -> None:
        """Store one file's DAGs, or its error. A DAG that the file no longer has becomes inactive."""
        for warning in self._database.transact(lambda connection: self._save(connection, parsed, clock_now())):
            log.warning("%s: %s", parsed.rel_path, warning)

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

    def _save(self, connection: Connection, parsed: ParsedFile, at: int) -> list[str]:
        """What an author should know of the DAGs that were stored, a line each."""
        error = parsed.error or too_large(parsed.dags) or self._claimed_elsewhere(connection, parsed)
        _store_error(connection, parsed.rel_path, error, at)
        if error is not None:
            # The last good version stays what it was: a typo in a file must not end the runs of its DAG.
            return []
        for spec in sorted(parsed.dags, key=lambda spec: spec.dag_id):
            self._save_dag(connection, parsed, spec, at)
        names = [spec.dag_id for spec in parsed.dags]
        connection.execute(
            update(dag).where(dag.c.rel_path == parsed.rel_path, dag.c.dag_id.not_in(names)).values(is_active=False)
        )
        return warnings_of(connection, parsed.dags)

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
            if spec.timetable.kind == "custom":
                want_plan(connection, spec.dag_id, at, anew=True)
            planned = None if present is None else present.next_logical_date
            store_due_run(connection, spec.dag_id, due_run(connection, spec, at, planned=planned))


def due_run(
    connection: Connection,
    spec: DagSpec,
    at: int,
    *,
    after: DueRun | None = None,
    planned: int | None = None,
) -> DueRun | None:
    """The DAG's next scheduled run, counted from ``after``, else from the newest scheduled one that it has had.

    :param planned: logical date that was stored as the next one before.
    """
    last, last_end = _last_scheduled(connection, spec.dag_id)
    if after is not None:
        last, last_end = after.logical_date, after.data_interval_end
    if spec.timetable.kind == "custom":
        return planned_due(connection, spec.dag_id, after=last, end_date=spec.end_date, catchup=spec.catchup, at=at)
    return next_run(
        spec.timetable,
        after=last,
        start_date=spec.start_date,
        end_date=spec.end_date,
        catchup=spec.catchup,
        now=at,
        after_end=last_end,
        planned=planned,
    )


def next_runs(connection: Connection, dag_id: str, count: int, at: int) -> list[DueRun]:
    """The next ``count`` runs of a DAG's schedule, as far as there are so many, and as far as can be told now.

    The first is what the scheduler waits for; ``@continuous`` tells no other one. Those of a custom timetable are told
    as far as they are planned. Raises :class:`~runtime.core.errors.NotFoundError`.
    """
    row = require_dag(connection, dag_id)
    spec = specs.decode_dag(
        connection.execute(select(dag_version.c.spec).where(dag_version.c.id == row.version_id)).scalar_one()
    )
    if spec.timetable.kind == "custom":
        return planned_ahead(connection, dag_id, row.next_logical_date, count)
    due = due_run(connection, spec, at, planned=row.next_logical_date)
    found: list[DueRun] = []
    while due is not None and len(found) < count:
        found.append(due)
        if spec.timetable.kind == "continuous":
            break
        due = next_run(
            spec.timetable,
            after=due.logical_date,
            after_end=due.data_interval_end,
            start_date=spec.start_date,
            end_date=spec.end_date,
            catchup=spec.catchup,
            now=max(at, due.run_after),
        )
    return found


def _last_scheduled(connection: Connection, dag_id: str) -> tuple[int | None, int | None]:
    """Logical date and end of the interval of the newest scheduled run."""
    row = connection.execute(
        select(dag_run.c.logical_date, dag_run.c.data_interval_end)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.run_type == "scheduled")
        .order_by(dag_run.c.logical_date.desc())
        .limit(1)
    ).first()
    return (None, None) if row is None else (row.logical_date, row.data_interval_end)


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
