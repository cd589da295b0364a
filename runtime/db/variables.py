"""Stored variables. Values are encrypted; functions work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runtime.core.errors import HybridError, NotFoundError
from runtime.db.runs import did_you_mean
from runtime.db.schema import variable as table
from runtime.secrets.errors import SecretsError
from runtime.secrets.keyring import Keyring

LONGEST = 2**20
"""Characters of one value: settings, not a data store."""


class Variable(NamedTuple):
    """One row, decrypted."""

    key: str
    value: str
    description: str | None


def find_variable(connection: Connection, keyring: Keyring, key: str) -> str | None:
    """Its value, or ``None``. Raises :class:`SecretsError` where it cannot be decrypted."""
    token = connection.execute(select(table.c.value).where(table.c.key == key)).scalar()
    return None if token is None else _decrypted(key, token, keyring)


def require_variable(connection: Connection, keyring: Keyring, key: str) -> str:
    """Raises :class:`NotFoundError` with near names, and what :func:`find_variable` raises."""
    found = find_variable(connection, keyring, key)
    if found is None:
        raise _missing(connection, key)
    return found


def list_variables(connection: Connection, keyring: Keyring) -> list[Variable]:
    """All, by key. Raises :class:`SecretsError`."""
    rows = connection.execute(select(table).order_by(table.c.key))
    return [Variable(row.key, _decrypted(row.key, row.value, keyring), row.description) for row in rows]


def save_variable(
    connection: Connection, keyring: Keyring, key: str, value: str, description: str | None = None
) -> None:
    """Create or replace it; without a ``description`` the old one stays. Raises :class:`SecretsError`."""
    if len(value) > LONGEST:
        raise SecretsError(f"variable {key!r} has {len(value)} characters; the limit is {LONGEST}")
    values = {"value": keyring.encrypt(value)} | ({} if description is None else {"description": description})
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # At once: of two tasks that set it for the first time neither must fail.
    statement = insert(table).values(key=key, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[table.c.key], set_=values))


def import_variables(
    connection: Connection, keyring: Keyring, found: Mapping[str, tuple[str, str | None]], existing: str
) -> dict[str, list[str]]:
    """Write key → (value, description); ``created, replaced, kept`` say which.

    :param existing: ``overwrite``, ``skip``, or ``fail``, which raises :class:`HybridError` and names the first.
    """
    present = set(connection.execute(select(table.c.key).where(table.c.key.in_(list(found)))).scalars())
    if existing == "fail" and present:
        raise HybridError(f"there is a variable {min(present)!r} already; nothing was imported")
    done: dict[str, list[str]] = {"created": [], "replaced": [], "kept": []}
    for key, (value, description) in found.items():
        if key in present and existing == "skip":
            done["kept"].append(key)
            continue
        save_variable(connection, keyring, key, value, description)
        done["replaced" if key in present else "created"].append(key)
    return done


def delete_variable(connection: Connection, key: str) -> bool:
    """Whether there was one."""
    return connection.execute(delete(table).where(table.c.key == key)).rowcount > 0


def drop_variable(connection: Connection, key: str) -> None:
    """Delete it. Raises :class:`NotFoundError` with near names."""
    if not delete_variable(connection, key):
        raise _missing(connection, key)


def rotate_variables(connection: Connection, keyring: Keyring) -> int:
    """Encrypt all under the newest key; how many. Raises :class:`SecretsError`, after which nothing must be kept."""
    rows = connection.execute(select(table.c.key, table.c.value).with_for_update()).all()
    for row in rows:
        token = keyring.encrypt(_decrypted(row.key, row.value, keyring))
        connection.execute(update(table).where(table.c.key == row.key).values(value=token))
    return len(rows)


def _decrypted(key: str, token: str, keyring: Keyring) -> str:
    try:
        return keyring.decrypt(token)
    except SecretsError as error:
        raise SecretsError(f"variable {key!r} cannot be decrypted: {error}") from None


def _missing(connection: Connection, key: str) -> NotFoundError:
    names = connection.execute(select(table.c.key)).scalars().all()
    return NotFoundError(f"there is no variable {key!r}{did_you_mean(key, names)}; see `hybrid variables list`")
