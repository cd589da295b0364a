"""Stored connections. Password and extra are encrypted; functions work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import Row, delete, insert, select, update

from runtime.core.errors import HybridError, NotFoundError
from runtime.db.runs import did_you_mean
from runtime.db.schema import connection as table
from runtime.secrets.connection import Connection
from runtime.secrets.errors import SecretsError
from runtime.secrets.keyring import Keyring


def find_connection(db: Db, keyring: Keyring, conn_id: str) -> Connection | None:
    """The connection, or ``None``. Raises :class:`SecretsError` where it cannot be decrypted."""
    row = db.execute(select(table).where(table.c.conn_id == conn_id)).first()
    return None if row is None else _read(row, keyring)


def require_connection(db: Db, keyring: Keyring, conn_id: str) -> Connection:
    """Raises :class:`NotFoundError` with near names, and what :func:`find_connection` raises."""
    found = find_connection(db, keyring, conn_id)
    if found is None:
        raise _missing(db, conn_id)
    return found


def list_connections(db: Db, keyring: Keyring) -> list[Connection]:
    """All, by id. Raises :class:`SecretsError`."""
    return [_read(row, keyring) for row in db.execute(select(table).order_by(table.c.conn_id))]


def save_connections(
    db: Db, keyring: Keyring, found: Mapping[str, Connection], *, overwrite: bool
) -> dict[str, list[str]]:
    """Write them; ``created, replaced, kept`` say which. One that exists is kept unless ``overwrite``."""
    present = set(db.execute(select(table.c.conn_id).where(table.c.conn_id.in_(list(found)))).scalars())
    done: dict[str, list[str]] = {"created": [], "replaced": [], "kept": []}
    for conn_id, one in found.items():
        if conn_id not in present:
            db.execute(insert(table).values(conn_id=conn_id, **_row(one, keyring)))
            done["created"].append(conn_id)
        elif overwrite:
            db.execute(update(table).where(table.c.conn_id == conn_id).values(**_row(one, keyring)))
            done["replaced"].append(conn_id)
        else:
            done["kept"].append(conn_id)
    return done


def add_connection(db: Db, keyring: Keyring, one: Connection) -> None:
    """Raises :class:`HybridError` where there is one of its id."""
    assert one.conn_id is not None
    if save_connections(db, keyring, {one.conn_id: one}, overwrite=False)["kept"]:
        raise HybridError(
            f"there is a connection {one.conn_id!r} already; use `hybrid connections set` to replace it, or delete it"
        )


def delete_connection(db: Db, conn_id: str) -> None:
    """Raises :class:`NotFoundError` with near names."""
    if db.execute(delete(table).where(table.c.conn_id == conn_id)).rowcount == 0:
        raise _missing(db, conn_id)


def rotate_connections(db: Db, keyring: Keyring) -> int:
    """Encrypt all under the newest key; how many. Raises :class:`SecretsError`, after which nothing must be kept."""
    rows = db.execute(select(table.c.conn_id, table.c.password, table.c.extra).with_for_update()).all()
    for row in rows:
        tokens = {"password": row.password, "extra": row.extra}
        values = {name: _rotated(token, keyring, row.conn_id) for name, token in tokens.items()}
        db.execute(update(table).where(table.c.conn_id == row.conn_id).values(**values))
    return len(rows)


def _rotated(token: str | None, keyring: Keyring, conn_id: str) -> str | None:
    plain = _decrypted(token, keyring, conn_id)
    return None if plain is None else keyring.encrypt(plain)


def _decrypted(token: str | None, keyring: Keyring, conn_id: str) -> str | None:
    try:
        return None if token is None else keyring.decrypt(token)
    except SecretsError as error:
        raise SecretsError(f"connection {conn_id!r} cannot be decrypted: {error}") from None


def _read(row: Row[Any], keyring: Keyring) -> Connection:
    plain = dict(row._mapping)
    for name in ("password", "extra"):
        plain[name] = _decrypted(plain[name], keyring, row.conn_id)
    return Connection(**plain)


def _row(one: Connection, keyring: Keyring) -> dict[str, Any]:
    values = one.to_dict()
    for name in ("password", "extra"):
        values[name] = None if values[name] is None else keyring.encrypt(values[name])
    return values


def _missing(db: Db, conn_id: str) -> NotFoundError:
    names = db.execute(select(table.c.conn_id)).scalars().all()
    return NotFoundError(
        f"there is no connection {conn_id!r}{did_you_mean(conn_id, names)}; see `hybrid connections list`"
    )
