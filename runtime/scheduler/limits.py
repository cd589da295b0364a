"""Limits that hold for all schedulers together, counted inside the transaction that uses them up.

The pool rows are locked before the counting, in sorted order: two schedulers that count at the same time would
otherwise both see the last free slot.
"""

from __future__ import annotations

from collections.abc import Container

from sqlalchemy import Connection, func, select

from runtime.db.schema import pool, task_instance, task_instance_is_active
from runtime.scheduler.ready import LimitKey
from runtime.scheduler.runs import Instance, RunModel

UNLIMITED = 2**31
NOT_NOW: LimitKey = ("not now", "")
"""Held by a step that looks at one run only."""


_POOLS = select(pool.c.name, pool.c.slots).order_by(pool.c.name)
_LOCKED_POOLS = _POOLS.with_for_update(key_share=True)
_USED = (
    select(task_instance.c.pool, func.sum(task_instance.c.pool_slots))
    .where(task_instance_is_active)
    .group_by(task_instance.c.pool)
)


class Limits:
    """The free places at one moment; :meth:`blocked_by` lets instances through and counts them."""

    def __init__(self, pools: dict[str, int], paused: Container[str] = (), only: RunModel | None = None) -> None:
        self._pools = pools
        self._paused = paused
        self._only = only
        self._runs: dict[int, int] = {}

    def blocked_by(self, instance: Instance) -> LimitKey | None:
        """The limit that forbids ``instance`` to start now; ``None`` where none does, then its places are taken."""
        run, spec = instance.run, instance.node.spec
        if self._only is not None and run is not self._only:
            return NOT_NOW
        if run.graph.dag_id in self._paused:
            return ("paused", run.graph.dag_id)
        run_free = self._runs.get(run.id)
        if run_free is None:
            run_free = run.graph.spec.max_active_tasks - run.active
        if run_free <= 0:
            return ("run", str(run.id))
        pool_free = self._pools.get(spec.pool, 0)
        if pool_free < spec.pool_slots:
            return ("pool", spec.pool)
        self._runs[run.id] = run_free - 1
        self._pools[spec.pool] = pool_free - spec.pool_slots
        return None


def read_pools(connection: Connection, *, lock: bool = True) -> dict[str, int]:
    """Lock the pools; return the free slots of each. A pool of -1 slots is unlimited.

    :param lock: false where nothing is taken: what is returned may be used up the next moment.
    """
    pools = connection.execute(_LOCKED_POOLS if lock else _POOLS)
    free = {name: UNLIMITED if slots < 0 else slots for name, slots in pools}
    # A second statement: one that waited for the locks would still count with the snapshot from before the wait.
    for name, slots in connection.execute(_USED):
        if name in free:
            free[name] -= slots
    return free
