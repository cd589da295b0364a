"""How connections to PostgreSQL are made and kept, and what their errors mean. SQLAlchemy alone imports psycopg.

Transactions are READ COMMITTED: whoever decides on what it counted locks first and counts in a second statement.
"""

from __future__ import annotations

import select
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

from runtime.core.errors import DatabaseError

_CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's own defaults wait two hours for a host that is gone. Whatever the URL says counts instead."""
_SESSION = """
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '10s';
"""
"""A process that is frozen inside a transaction holds locks that others wait for; it loses them, and finds out when it
goes on. That is sooner than the leases end of those who wait. SET, and not the start-up packet's ``options``: poolers
refuse those."""
_CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock."""
_AWAY = frozenset({"25006", "25P03"})
"""A standby that takes no writes; a transaction that was idle for too long."""


class ConflictError(OperationalError):
    """The transaction was undone because of another one; the same may be tried again at once."""


def postgres_engine(url: URL, application: str) -> Engine:
    """A pool of connections to a PostgreSQL server. Raises :class:`DatabaseError` where psycopg is missing."""
    arguments = {name: value for name, value in _CONNECTION.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_use_lifo=True,
            use_native_hstore=False,
            connect_args=arguments | {"fallback_application_name": application},
        )
    except ImportError as error:
        raise DatabaseError(
            "PostgreSQL needs psycopg, which is not installed or not complete; "
            "run `pip install 'hybrid-runtime[postgres]'`"
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkout", _refuse_dead)
    event.listen(engine, "handle_error", _judge)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    connection.execute(_SESSION)
    connection.autocommit = False


def _refuse_dead(connection: Any, _record: Any, _fairy: Any) -> None:
    """Have the pool replace a connection that was closed by the other side.

    Nothing may arrive on an idle connection but the news of its end, and that can be seen without asking the server: a
    ``pool_pre_ping`` costs a round trip per transaction.
    """
    if connection.closed:
        raise DisconnectionError("the connection is closed")
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server has closed the connection")


def _judge(context: ExceptionContext) -> Exception | None:
    """Say in one line what happened, without values, and by its class what may be done about it."""
    found, original = context.sqlalchemy_exception, context.original_exception
    if not isinstance(found, DBAPIError):
        return None
    state: str = getattr(original, "sqlstate", None) or ""
    if state and state not in _CONFLICTS:
        # The rest of the message quotes the row, which holds XComs and run configurations, or repeats the statement.
        original.args = (original.diag.message_primary,)  # type: ignore[attr-defined]
    original.args = (" ".join(str(original).split()),)
    kind = type(found)
    if state in _CONFLICTS:
        kind = ConflictError
    elif context.is_disconnect or state in _AWAY:
        kind = OperationalError
    return kind(found.statement, None, original, hide_parameters=True, connection_invalidated=context.is_disconnect)
