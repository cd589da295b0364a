"""A run as people name it: by its id, or by its logical date."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from runtime.cli.moments import parse_moment
from runtime.core.errors import NotFoundError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

METAVAR = "RUN_OR_DATE"


def find_run(connection: Connection, dag_id: str, text: str, zone: str) -> Row[Any]:
    """The run of that id, else of that logical date. Raises :class:`NotFoundError` with near names.

    :param zone: of a date that says none.
    """
    from runtime.db.runs import require_run, run_at

    try:
        return require_run(connection, dag_id, text)
    except NotFoundError:
        if not is_date(text):
            raise
        run_id = run_at(connection, dag_id, parse_moment("DATE", text, zone) or 0)
        if run_id is None:
            raise NotFoundError(
                f"DAG {dag_id} has no run {text!r}, as an id or a logical date; see `hybrid dags list-runs {dag_id}`"
            ) from None
        return require_run(connection, dag_id, run_id)


def is_date(text: str) -> bool:
    """Whether it may be a date and time."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
