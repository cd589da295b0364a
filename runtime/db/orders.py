"""Standing orders for executors: what operators have said, kept as they said it; the newest of an executor counts.

Never changed and never deleted, so the table is also the record of who said what and when.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from runtime.db.schema import executor_order


class Mode(StrEnum):
    """What an executor takes."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Nothing new. Tasks that name further executors go on to those, as from one that is unavailable."""
    DRAINING = "draining"
    """The same, said by somebody who waits for it to be empty."""


@dataclass(frozen=True, slots=True)
class Order:
    """``parallelism`` is ``None`` where the configured one holds. ``id`` is 0 where nobody has said anything."""

    name: str
    mode: Mode = Mode.ACTIVE
    parallelism: int | None = None
    id: int = 0
    at: int = 0
    actor: str = ""


_NEWEST = select(func.max(executor_order.c.id)).group_by(executor_order.c.name)
_STANDING = select(executor_order).where(executor_order.c.id.in_(_NEWEST))
HOW_MANY = select(func.count()).select_from(executor_order)
"""Whether there are new ones: ids may become visible in another order than they were given."""


def standing_orders(connection: Connection) -> dict[str, Order]:
    """By executor name."""
    rows = connection.execute(_STANDING).all()
    return {row.name: Order(row.name, Mode(row.mode), row.parallelism, row.id, row.at, row.actor) for row in rows}


def give_mode(connection: Connection, name: str, mode: Mode, *, at: int, actor: str) -> Order:
    """Leaves the parallelism as it is."""
    return _give(connection, replace(_standing(connection, name), mode=mode, at=at, actor=actor))


def give_parallelism(connection: Connection, name: str, parallelism: int | None, *, at: int, actor: str) -> Order:
    """Leaves the mode as it is."""
    return _give(connection, replace(_standing(connection, name), parallelism=parallelism, at=at, actor=actor))


def _standing(connection: Connection, name: str) -> Order:
    return standing_orders(connection).get(name, Order(name))


def _give(connection: Connection, order: Order) -> Order:
    values = {
        "name": order.name,
        "mode": order.mode,
        "parallelism": order.parallelism,
        "at": order.at,
        "actor": order.actor,
    }
    result = connection.execute(insert(executor_order).values(**values))
    assert result.inserted_primary_key is not None
    return replace(order, id=result.inserted_primary_key[0])
