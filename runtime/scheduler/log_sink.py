"""Keeps what launches elsewhere have printed as their attempts' logs on this host, when executors have fetched it."""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from executors.workload import TaskInstanceKey
from runtime.db.engine import Database
from runtime.db.schema import dag_run, task_attempt, task_instance
from runtime.log.attempt_logs import attempt_path, create_log

log = logging.getLogger(__name__)
LONGEST_LOG = 50_000_000
"""Bytes; of a longer one the end is kept, for that says what happened."""
_ATTEMPT = (
    select(
        dag_run.c.dag_id,
        dag_run.c.run_id,
        task_instance.c.task_id,
        task_instance.c.map_index,
        task_attempt.c.try_number,
        task_attempt.c.dispatch_number,
    )
    .join(task_instance, task_instance.c.id == task_attempt.c.task_instance_id)
    .join(dag_run, dag_run.c.id == task_attempt.c.dag_run_id)
)


class LogSink:
    """For :attr:`executors.context.ExecutorContext.log_sink`: thread-safe, raises nothing.

    What an attempt is called is looked up, not taken from the key: it becomes the name of a file.
    """

    def __init__(self, database: Database, folder: str) -> None:
        self._database = database
        self._folder = folder

    def __call__(self, key: TaskInstanceKey, text: str) -> None:
        """Write ``text`` as the log of the attempt of ``key``, unless this host has one."""
        try:
            path = self._path(key.attempt_id)
            if path is None:
                log.warning("the log of %s is not kept: there is no such attempt", key)
            elif text and not create_log(self._folder, path, _clipped(text)):
                log.debug("the log of %s is here already", key)
        except (OSError, SQLAlchemyError) as error:
            log.warning("the log of %s cannot be kept: %s", key, " ".join(str(error).split()))
        except Exception:
            log.exception("the log of %s cannot be kept", key)

    def _path(self, attempt_id: str) -> str | None:
        with self._database.read() as connection:
            row = connection.execute(_ATTEMPT.where(task_attempt.c.id == attempt_id)).one_or_none()
        return None if row is None else attempt_path(*row)


def _clipped(text: str) -> bytes:
    data = text.encode(errors="backslashreplace")
    if len(data) <= LONGEST_LOG:
        return data
    rest = data[-LONGEST_LOG:]
    rest = rest[rest.find(b"\n") + 1 :]
    return f"── {len(data) - len(rest)} bytes before this are left out ──\n".encode() + rest
