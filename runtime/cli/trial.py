"""A task tried in this process: its file, the run that it would be in, and answers that write nothing down.

It reads what the deployment has, the run's XComs, connections and variables, and works without a database, too. What
it would write, XComs and variables, it finds again as long as the process lives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.cli.moments import parse_moment
from runtime.cli.run_names import find_run, is_date
from runtime.config.worker import worker_config
from runtime.core import clock
from runtime.core import messages as m
from runtime.core.errors import DatabaseError, HybridError, NotFoundError
from runtime.core.specs import DagSpec, ParsedFile
from runtime.core.timetables import interval_of
from runtime.db.marking import require_task
from runtime.secrets.keyring import Keyring
from runtime.worker.settings import WorkerSettings, read_settings

if TYPE_CHECKING:
    from runtime.authoring.loader import LoadedFile
    from runtime.config import Settings
    from runtime.db.engine import Database

_REFUSED = "a trial starts no runs of other DAGs; `hybrid dags test` does"


@dataclass(frozen=True, slots=True)
class Trial:
    """What :mod:`runtime.worker` needs to run the task."""

    context: m.RunContext
    settings: WorkerSettings
    loaded: LoadedFile
    ask: Callable[[m.Asked], bytes]


class Collected:
    """A store of parsed files in memory."""

    def __init__(self) -> None:
        self.files: list[ParsedFile] = []

    def save(self, parsed: ParsedFile) -> None:
        """See :class:`runtime.processing.processor.DagStore`."""
        self.files.append(parsed)

    def forget(self, rel_paths: Any) -> None:
        """Nothing was known."""

    def known_files(self) -> list[str]:
        """None, before the first parse."""
        return []


def prepare(settings: Settings, database: Database | None, dag_id: str, task_id: str, run: str | None) -> Trial:
    """Find the task in the DAGs folder as it is now, and the run: one that exists, by id or date, else a new one.

    Raises :class:`HybridError` where there is no such DAG or task, or its file cannot be imported.
    """
    parsed, spec = _find_dag(settings, database, dag_id)
    task = require_task(spec, task_id)
    found = _find_run(settings, database, dag_id, run)
    values = _new_run(settings, spec, run) if found is None else _known_run(found)
    worker = read_settings(worker_config(settings))
    context = m.RunContext(
        dag_id=dag_id,
        task_id=task_id,
        map_index=-1,
        try_number=1,
        max_tries=task.retries,
        dispatch_number=1,
        rel_path=parsed.rel_path,
        file_hash=parsed.file_hash,
        task_start_date=clock.now(),
        queue=task.queue,
        pool=task.pool,
        **values,
    )
    answers = Answers(settings, database, context)
    return Trial(context, worker, _load(worker, parsed, answers), answers)


def _find_dag(settings: Settings, database: Database | None, dag_id: str) -> tuple[ParsedFile, DagSpec]:
    """Parse the file that the deployment knows it from; else all, as a DAG that was just written is in none of them."""
    from runtime.db.runs import did_you_mean
    from runtime.processing.once import make_processor

    path = None if database is None else _known_path(database, dag_id)
    files: list[ParsedFile] = []
    for only in [{path}, None] if path else [None]:
        files = make_processor(settings, Collected()).parse_once(only)
        for parsed in files:
            for spec in parsed.dags:
                if spec.dag_id == dag_id:
                    return parsed, spec
    broken = "; ".join(f"{one.rel_path}: {one.error.strip().splitlines()[0]}" for one in files if one.error)
    near = did_you_mean(dag_id, [spec.dag_id for parsed in files for spec in parsed.dags])
    raise NotFoundError(
        f"there is no DAG {dag_id!r} in {settings.core.dags_folder}{near}"
        f"{f' (files with import errors: {broken})' if broken else ''}"
    )


def _known_path(database: Database, dag_id: str) -> str | None:
    from runtime.db.runs import require_dag

    try:
        with database.read() as connection:
            return str(require_dag(connection, dag_id).rel_path)
    except NotFoundError:
        return None


def _find_run(settings: Settings, database: Database | None, dag_id: str, run: str | None) -> Any:
    if database is None or run is None:
        return None
    try:
        with database.read() as connection:
            return find_run(connection, dag_id, run, settings.core.default_timezone)
    except NotFoundError:
        if not is_date(run):
            raise
        return None


def _known_run(row: Any) -> dict[str, Any]:
    keys = ("run_id", "run_type", "run_after", "logical_date", "data_interval_start", "data_interval_end")
    return {key: getattr(row, key) for key in keys} | {
        "run_start_date": row.start_date,
        "conf": json.loads(row.conf),
    }


def _new_run(settings: Settings, spec: DagSpec, run: str | None) -> dict[str, Any]:
    """A run that nobody else sees; its logical date is now where none was given."""
    now = clock.now()
    date = parse_moment("DATE", run, settings.core.default_timezone)
    date = now if date is None else date
    start, end = interval_of(spec.timetable, date, spec.start_date)
    return {
        "run_id": f"__hybrid_temporary_run_{clock.iso(now)}__",
        "run_type": "manual",
        "run_after": end,
        "logical_date": date,
        "data_interval_start": start,
        "data_interval_end": end,
        "run_start_date": now,
    }


def _load(worker: WorkerSettings, parsed: ParsedFile, answers: Answers) -> LoadedFile:
    """Execute the file in this process, as a worker does. Raises :class:`HybridError`."""
    from runtime.secrets.access import serve
    from runtime.worker.code import ImportTimeout, import_file
    from runtime.worker.secrets import ServedSecrets

    serve(lambda: ServedSecrets(answers), worker.secrets)
    try:
        return import_file(worker, parsed.rel_path)
    except (Exception, ImportTimeout, SystemExit) as error:
        raise HybridError(f"{parsed.rel_path} cannot be imported: {type(error).__name__}: {error}") from error


@dataclass(slots=True)
class Answers:
    """Stands in for the task service; an :data:`~runtime.worker.task_instance.Ask`."""

    settings: Settings
    database: Database | None
    context: m.RunContext
    pushed: dict[str, msgspec.Raw] = field(default_factory=dict)
    """XComs by key."""
    variables: dict[str, str | None] = field(default_factory=dict)
    """Those that were set, or (``None``) deleted."""

    def __call__(self, request: m.Asked) -> bytes:
        """Answer at once. Raises nothing."""
        try:
            return m.encode(self._answer(request))
        except HybridError as error:
            return m.encode(_refusal(request, str(error)))

    def _answer(self, request: m.Asked) -> m.Reply:
        if isinstance(request, m.XComPush | m.VariableSet):
            kept: dict[str, Any] = self.pushed if isinstance(request, m.XComPush) else self.variables
            kept[request.key] = request.value
            return m.Done(True)
        if isinstance(request, m.XComPull):
            return self._pull(request)
        if isinstance(request, m.VariableDelete):
            known = self._variable(request.key)
            self.variables[request.key] = None
            return m.Secret(None if known is None else "")
        if isinstance(request, m.VariableGet):
            return m.Secret(self._variable(request.key))
        if isinstance(request, m.ConnectionGet):
            return m.Secret(self._connection(request.conn_id))
        return m.TriggeredRun(reason=_REFUSED)

    def _pull(self, request: m.XComPull) -> m.XComValues:
        from runtime.db.queries import xcom_values

        run = self.context
        own = (request.dag_id or run.dag_id, request.run_id or run.run_id) == (run.dag_id, run.run_id)
        found: list[tuple[str, int, msgspec.Raw]] = []
        if self.database is not None:
            with self.database.read() as connection:
                found = xcom_values(
                    connection,
                    request.dag_id or run.dag_id,
                    request.run_id or run.run_id,
                    request.task_ids,
                    key=request.key,
                    map_index=request.map_index,
                )
        if own and run.task_id in request.task_ids and request.key in self.pushed:
            found = [value for value in found if value[0] != run.task_id]
            found.append((run.task_id, -1, self.pushed[request.key]))
        return m.XComValues(tuple(found))

    def _variable(self, key: str) -> str | None:
        from runtime.db.variables import find_variable

        if key in self.variables or self.database is None:
            return self.variables.get(key)
        with self.database.read() as connection:
            return find_variable(connection, self._keyring, key)

    def _connection(self, conn_id: str) -> str | None:
        from runtime.db.connections import find_connection

        if self.database is None:
            return None
        with self.database.read() as connection:
            found = find_connection(connection, self._keyring, conn_id)
        return None if found is None else json.dumps(found.to_dict())

    @property
    def _keyring(self) -> Keyring:
        return Keyring(self.settings.home, self.settings.core.fernet_key)


def _refusal(request: m.Asked, reason: str) -> m.Reply:
    if isinstance(request, m.XComPull):
        return m.XComValues(reason=reason)
    if isinstance(request, m.XComPush | m.VariableSet):
        return m.Done(False, reason)
    return m.Secret(reason=reason)


def open_if_there(settings: Settings) -> Database | None:
    """The deployment's database, ``None`` where there is none yet."""
    from runtime.db.engine import open_database

    try:
        return open_database(settings)
    except DatabaseError:
        return None
