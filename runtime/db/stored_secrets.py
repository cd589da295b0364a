"""Connections and variables for a process that has the database itself: the one that parses a DAG file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runtime.core.errors import DatabaseError
from runtime.db.connections import find_connection
from runtime.db.engine import Database, open_database, sqlite_path
from runtime.db.variables import find_variable
from runtime.secrets.errors import SecretsError
from runtime.secrets.keyring import Keyring

if TYPE_CHECKING:
    from runtime.config import Settings


class StoredSecrets:
    """A :class:`~runtime.secrets.access.Source` that reads. Opened when it is first asked, after the fork.

    Its methods raise ``SecretsError``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring = Keyring(settings.home, settings.core.fernet_key)
        self._database: Database | None = None

    def variable(self, key: str) -> str | None:
        """See :class:`~runtime.secrets.access.Source`."""
        database = self._open()
        if database is None:
            return None
        with database.read() as connection:
            return find_variable(connection, self._keyring, key)

    def connection(self, conn_id: str) -> str | None:
        """See :class:`~runtime.secrets.access.Source`."""
        database = self._open()
        if database is None:
            return None
        with database.read() as connection:
            found = find_connection(connection, self._keyring, conn_id)
        return None if found is None else json.dumps(found.to_dict())

    def set_variable(self, key: str, value: str, description: str | None) -> None:
        """Refused: a file is parsed again and again."""
        raise SecretsError(f"variable {key!r} cannot be set while a DAG file is parsed; set it in a task")

    def delete_variable(self, key: str) -> bool:
        """Refused, for the same reason."""
        raise SecretsError(f"variable {key!r} cannot be deleted while a DAG file is parsed; do it in a task")

    def _open(self) -> Database | None:
        """``None`` where there is no database: ``dags test`` needs none."""
        path = sqlite_path(self._settings.database.sql_alchemy_conn)
        if path is not None and not path.exists():
            return None
        if self._database is None:
            try:
                self._database = open_database(self._settings, "hybrid dag-processor")
            except DatabaseError as error:
                raise SecretsError(str(error)) from None
        return self._database
