"""Pools: how many slots, how many of them are in use, and which tasks can never get theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update

from runtime.core.errors import HybridError, NotFoundError
from runtime.core.specs import DagSpec
from runtime.core.states import TaskState
from runtime.db.runs import did_you_mean
from runtime.db.schema import pool, task_instance, task_instance_is_active

DEFAULT = "default_pool"
LONGEST_NAME = 250
MOST_SLOTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Pool:
    """``slots`` -1 is unlimited."""

    name: str
    slots: int
    description: str = ""

    def check(self) -> None:
        """Raise :class:`HybridError` for a name or number that cannot be."""
        if not self.name or len(self.name) > LONGEST_NAME or "\0" in self.name:
            raise HybridError(f"pool {self.name[:60]!r}: a name has 1 to {LONGEST_NAME} characters")
        if not -1 <= self.slots <= MOST_SLOTS:
            raise HybridError(f"pool {self.name!r}: slots must be 0 or more, or -1 for unlimited, not {self.slots}")


def list_pools(connection: Connection) -> list[dict[str, Any]]:
    """By name: ``pool, slots, description, running, queued, open``; ``open`` is ``None`` where slots are unlimited."""
    queued = case((task_instance.c.state == TaskState.QUEUED, task_instance.c.pool_slots), else_=0)
    rows = connection.execute(
        select(
            task_instance.c.pool,
            func.sum(task_instance.c.pool_slots).label("used"),
            func.sum(queued).label("queued"),
        )
        .where(task_instance_is_active)
        .group_by(task_instance.c.pool)
    )
    use = {row.pool: (int(row.used), int(row.queued)) for row in rows}
    found = []
    for row in connection.execute(select(pool).order_by(pool.c.name)):
        used, waiting = use.get(row.name, (0, 0))
        free = None if row.slots < 0 else max(0, row.slots - used)
        record = {"pool": row.name, "slots": row.slots, "description": row.description}
        found.append({**record, "running": used - waiting, "queued": waiting, "open": free})
    return found


def require_pool(connection: Connection, name: str) -> dict[str, Any]:
    """As in :func:`list_pools`. Raises :class:`NotFoundError` with near names."""
    found = {record["pool"]: record for record in list_pools(connection)}
    if name not in found:
        raise _missing(name, found)
    return found[name]


def save_pools(connection: Connection, pools: Sequence[Pool]) -> None:
    """Create or change them. Raises :class:`HybridError` before anything is written."""
    for one in pools:
        one.check()
    for one in pools:
        values = {"slots": one.slots, "description": one.description}
        if connection.execute(update(pool).where(pool.c.name == one.name).values(**values)).rowcount == 0:
            connection.execute(insert(pool).values(name=one.name, **values))


def delete_pool(connection: Connection, name: str) -> None:
    """Raises :class:`NotFoundError`, and :class:`HybridError` for ``default_pool``."""
    if name == DEFAULT:
        raise HybridError(f"{DEFAULT} cannot be deleted: tasks that name no pool need it; set its slots instead")
    if connection.execute(delete(pool).where(pool.c.name == name)).rowcount == 0:
        raise _missing(name, connection.execute(select(pool.c.name)).scalars().all())


def warnings_of(connection: Connection, specs: Sequence[DagSpec]) -> list[str]:
    """A line for each pool that tasks of these DAGs want and cannot get: absent, or smaller than one task needs."""
    wanted = {task.pool for spec in specs for task in spec.tasks}
    slots = dict(connection.execute(select(pool.c.name, pool.c.slots).where(pool.c.name.in_(wanted))).all())
    return list(_complaints(specs, slots))


def _complaints(specs: Sequence[DagSpec], slots: Mapping[str, int]) -> Iterator[str]:
    for spec in specs:
        told = set()
        for task in spec.tasks:
            have = slots.get(task.pool)
            if task.pool not in told and have is None:
                told.add(task.pool)
                yield (
                    f"DAG {spec.dag_id!r}, task {task.task_id!r}: there is no pool {task.pool!r}, so it will wait; "
                    f"create it with `hybrid pools set {task.pool} SLOTS DESCRIPTION`"
                )
            elif have is not None and 0 <= have < task.pool_slots:
                yield (
                    f"DAG {spec.dag_id!r}, task {task.task_id!r}: it wants {task.pool_slots} slots of pool "
                    f"{task.pool!r}, which has {have}, so it will wait"
                )


def _missing(name: str, names: Iterable[str]) -> NotFoundError:
    return NotFoundError(f"there is no pool {name!r}{did_you_mean(name, names)}; see `hybrid pools list`")
