"""``connections test``: whether something listens where a connection points. Nobody logs in."""

from __future__ import annotations

import socket

from runtime.core.errors import HybridError
from runtime.secrets.connection import Connection

PORTS = {
    "amqp": 5672,
    "elasticsearch": 9200,
    "ftp": 21,
    "http": 80,
    "https": 443,
    "imap": 143,
    "kafka": 9092,
    "mongo": 27017,
    "mssql": 1433,
    "mysql": 3306,
    "oracle": 1521,
    "postgres": 5432,
    "redis": 6379,
    "sftp": 22,
    "smtp": 25,
    "ssh": 22,
    "trino": 8080,
    "vault": 8200,
}
"""By type of connection, where it names no port."""


def reach(one: Connection, timeout: float) -> str:
    """A line that says what answered within ``timeout`` seconds. Raises :class:`HybridError` that says what did not."""
    host, port = address(one)
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return f"{host}:{port} answers; no login was tried"
    except (OSError, UnicodeError) as error:
        reason = (
            "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or "bad host"
        )
        raise HybridError(f"connection {one.conn_id!r}: {host}:{port} cannot be reached: {reason}") from None


def address(one: Connection) -> tuple[str, int]:
    """Host and port. Raises :class:`HybridError` where it has none."""
    scheme, _, host = (one.host or "").rpartition("://")
    host = host.partition("/")[0].rpartition("@")[2]
    port = one.port or PORTS.get(scheme or one.conn_type) or PORTS.get(one.conn_type)
    if not host or port is None:
        lacks = "host" if not host else "port"
        raise HybridError(f"connection {one.conn_id!r} of type {one.conn_type!r} has no {lacks} that could be tried")
    return host, port
