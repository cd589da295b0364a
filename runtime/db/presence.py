"""A process's row among the components, kept by the thread that does the process's work: it ages when that is stuck."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping

from sqlalchemy.exc import DBAPIError

from runtime.db import components
from runtime.db.engine import Database, database_clock

log = logging.getLogger(__name__)


class Presence:
    """A component's life.

    :param figures: its figures as JSON.
    :param declared: what it runs with (:func:`runtime.config.parity.declare`).

    Raises ``DBAPIError`` where the row cannot be written.
    """

    def __init__(
        self,
        database: Database,
        kind: str,
        figures: Callable[[], str | None] = lambda: None,
        declared: Mapping[str, str] | None = None,
    ) -> None:
        self._database = database
        self._figures = figures
        with database.write() as connection:
            self._id = components.register(connection, kind, database_clock(connection), json.dumps(declared or {}))

    def beat(self) -> None:
        """Say that it lives. Never raises: a database that is away is told in the log."""
        try:
            with self._database.write() as connection:
                components.beat(connection, self._id, database_clock(connection), self._figures())
        except DBAPIError as error:
            log.warning("no heartbeat, the metadata DB is not to be had: %s", str(error.orig).strip())

    def end(self) -> None:
        """Say that it has ended. Never raises."""
        try:
            with self._database.write() as connection:
                components.end(connection, self._id, database_clock(connection))
        except DBAPIError as error:
            log.warning("its end is not in the metadata DB: %s", str(error.orig).strip())
