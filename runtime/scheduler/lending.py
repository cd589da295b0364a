"""What a run in a database of its own needs of the deployment's: connections, variables, pools, and the key to them."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from runtime.config import Settings
from runtime.core.errors import DatabaseError
from runtime.core.specs import TaskSpec
from runtime.db.engine import Database, open_database
from runtime.db.schema import connection as connections
from runtime.db.schema import pool, variable
from runtime.secrets.keyring import KEY_FILE

UNLIMITED = -1


def lend(settings: Settings, target: Database) -> None:
    """Copy them, as they are stored, from the deployment's database; nothing where that does not exist."""
    try:
        database = open_database(settings)
    except DatabaseError:
        return
    try:
        with database.read() as source, target.write() as connection:
            connection.execute(delete(pool))
            for table in (connections, variable, pool):
                if rows := [dict(row._mapping) for row in source.execute(select(table))]:
                    connection.execute(insert(table), rows)
    finally:
        database.close()


def with_key(settings: Settings) -> Settings:
    """The settings with the Fernet key in them, for a process that gets another home; a new one where there is none."""
    try:
        keys = (settings.home / KEY_FILE).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        keys = []
    found = settings.core.fernet_key or ",".join(keys) or base64.urlsafe_b64encode(os.urandom(32)).decode()
    return replace(settings, core=replace(settings.core, fernet_key=found))


def make_room(connection: Connection, tasks: Sequence[TaskSpec]) -> None:
    """Lift the limit of each pool that is missing, or too small for one of the tasks: they would wait for ever."""
    slots = dict(connection.execute(select(pool.c.name, pool.c.slots)).all())
    for task in tasks:
        have = slots.get(task.pool)
        if have is None:
            connection.execute(insert(pool).values(name=task.pool, slots=UNLIMITED, description=""))
        elif 0 <= have < task.pool_slots:
            connection.execute(update(pool).where(pool.c.name == task.pool).values(slots=UNLIMITED))
        slots[task.pool] = UNLIMITED if have is None or 0 <= have < task.pool_slots else have
