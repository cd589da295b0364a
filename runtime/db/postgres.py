"""How connections to PostgreSQL are made, kept and given up, and what their errors mean. SQLAlchemy imports psycopg.

Transactions are READ COMMITTED: whoever decides on what it counted locks first and counts in a second statement.

Nobody waits for ever, whatever has become of the other side. A host that is gone is noticed by TCP, from both ends. A
link that is half-open, which a proxy or a balancer in between may even acknowledge, is noticed by :class:`_Impatient`.
A process that is frozen inside a transaction holds locks that others wait for; the server ends its session.
"""

from __future__ import annotations

import select
import time
from collections.abc import Generator
from typing import Any, NamedTuple

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

from runtime.core.errors import DatabaseError

_CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's own defaults wait two hours for a host that is gone. Whatever the URL says counts instead."""
_SESSION = """
SET lock_timeout = {lock};
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 30000;
SET idle_in_transaction_session_timeout = {idle};
"""
"""SET, and not the start-up packet's ``options``: poolers refuse those. ``lock`` and ``idle`` are milliseconds."""
_LOCK_SECONDS = 5.0
_CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock."""
_AWAY = frozenset({"25006", "25P03"})
"""A standby that takes no writes; a transaction that was idle for too long."""


class ConflictError(OperationalError):
    """The transaction was undone because of another one; the same may be tried again at once."""


class Patience(NamedTuple):
    """Seconds; 0 is without limit."""

    answer: float = 0.0
    """Of a client for any word of the server, until it gives the connection up."""
    idle_transaction: float = 5.0
    """Of the server for the next statement of a transaction, until it ends the session and frees its locks."""

    @property
    def lock(self) -> float:
        """Of a statement for the locks of others. Ends before the client gives up: what is left of a connection that
        was given up would go on waiting in the server, with its own locks."""
        return min(_LOCK_SECONDS, 0.8 * self.answer) if self.answer else _LOCK_SECONDS


def postgres_engine(url: URL, application: str, patience: Patience) -> Engine:
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
    session = _SESSION.format(lock=round(patience.lock * 1000), idle=round(patience.idle_transaction * 1000))
    event.listen(engine, "connect", lambda connection, _record: _prepare(connection, session))
    if patience.answer:
        connect = _impatient(engine.dialect.loaded_dbapi, patience.answer).connect
        event.listen(engine, "do_connect", lambda _dialect, _record, args, kwargs: connect(*args, **kwargs))
    event.listen(engine, "checkout", _refuse_dead)
    event.listen(engine, "handle_error", _judge)
    return engine


def _prepare(connection: Any, session: str) -> None:
    connection.autocommit = True
    connection.execute(session)
    connection.autocommit = False


def _impatient(psycopg: Any, seconds: float) -> Any:
    """The class of connections that close themselves, with an ``OperationalError``, where nothing is heard for so long.

    psycopg knows no such limit (``connect_timeout`` ends with connecting), and the server's ``statement_timeout`` is of
    no use where its answer does not arrive.
    """

    class Impatient(psycopg.Connection):  # type: ignore[misc]
        def wait(self, waiting: Generator[Any, int, Any], *args: Any, **kwargs: Any) -> Any:
            return super().wait(self._limited(waiting), *args, **kwargs)

        def _limited(self, waiting: Generator[Any, int, Any]) -> Generator[Any, int, Any]:
            """``waiting`` is told every moment what is ready: nothing, or a bit mask."""
            heard = time.monotonic()
            try:
                wanted = next(waiting)
                while True:
                    ready = yield wanted
                    if ready:
                        heard = time.monotonic()
                    elif time.monotonic() - heard > seconds:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no word from the server for {seconds:g} s")
                    wanted = waiting.send(ready)
            except StopIteration as end:
                return end.value

    return Impatient


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
