"""Limits that hold for all schedulers together, counted inside the transaction that uses them up.

The pool rows are locked before the counting, in sorted order: two schedulers that count at the same time would
otherwise both see the last free slot. While slots are plenty they may count at the same time all the same
(:class:`PoolAccess`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from runtime.core.states import TASK_ACTIVE
from runtime.db.schema import dag_run, pool, scheduler, task_instance, task_instance_is_active
from runtime.scheduler.ready import LimitKey
from runtime.scheduler.runs import Instance, RunModel

UNLIMITED = 2**31
TASK, TASK_IN_RUN = "task", "task in run"
NOT_NOW: LimitKey = ("not now", "")
"""Held by a step that looks at one run only."""
BESIDE_OTHERS: LimitKey = ("beside others", "")
"""Held by a step that may take only its part of a pool."""
PARTS = 16
"""A step that counts beside others takes at most one part in so many of a pool."""
STEPS_ALONE = 50
"""After a part was too small: a pool that is nearly full is better counted alone for a while."""

_POOLS = select(pool.c.name, pool.c.slots).order_by(pool.c.name)
_LOCKED_POOLS = _POOLS.with_for_update(key_share=True)
_ACTIVE = (
    select(task_instance.c.task_id, func.count().label("active"))
    .join(dag_run, dag_run.c.id == task_instance.c.dag_run_id)
    .where(task_instance_is_active, dag_run.c.dag_id == bindparam("b_dag"))
    .group_by(task_instance.c.task_id)
)
_USED = (
    select(task_instance.c.pool, func.sum(task_instance.c.pool_slots))
    .where(task_instance_is_active)
    .group_by(task_instance.c.pool)
)
_SHARED_POOLS = _POOLS.with_for_update(read=True)
_used = _USED.with_only_columns(
    task_instance.c.pool.label("pool"), func.sum(task_instance.c.pool_slots).label("slots")
).subquery("used")
_SCHEDULERS = select(func.count()).select_from(scheduler).where(scheduler.c.ended_at.is_(None)).scalar_subquery()
_COUNTED = select(pool.c.name, pool.c.slots, func.coalesce(_used.c.slots, 0), _SCHEDULERS).join(
    _used, _used.c.pool == pool.c.name, isouter=True
)


class Limits:
    """The free places at one moment; :meth:`blocked_by` lets instances through and counts them.

    :param count: how many instances of each task of a DAG are active; asked for DAGs with such limits only.
    :param beside: what ``pools`` says is a part; ``fell_short`` tells whether that was not enough for somebody.
    """

    def __init__(
        self,
        pools: dict[str, int],
        paused: Container[str] = (),
        only: RunModel | None = None,
        *,
        count: Callable[[str], Mapping[str, int]] = lambda _: {},
        beside: bool = False,
    ) -> None:
        self.fell_short = False
        self._pools = pools
        self._paused = paused
        self._only = only
        self._count = count
        self._lacking: LimitKey | None = BESIDE_OTHERS if beside else None
        self._runs: dict[int, int] = {}
        self._counts: dict[str, Mapping[str, int]] = {}
        self._tasks: dict[LimitKey, int] = {}

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
        limits = task_limits(instance)
        has_no_parts = self._lacking and any(kind == TASK for kind, _ in limits)
        if pool_free < spec.pool_slots or has_no_parts:
            self.fell_short = True
            return self._lacking or ("pool", spec.pool)
        for limit in limits:
            if self._task_room(limit, instance) <= 0:
                return limit
        for limit in limits:
            self._tasks[limit] -= 1
        self._runs[run.id] = run_free - 1
        self._pools[spec.pool] = pool_free - spec.pool_slots
        return None

    def _task_room(self, limit: LimitKey, instance: Instance) -> int:
        """Free places under one of :func:`task_limits`."""
        if limit not in self._tasks:
            run, spec = instance.run, instance.node.spec
            if limit[0] == TASK_IN_RUN:
                active = sum(other.state in TASK_ACTIVE for other in run.by_node[instance.node.index])
                self._tasks[limit] = (spec.max_active_tis_per_dagrun or 0) - active
            else:
                dag_id = run.graph.dag_id
                if dag_id not in self._counts:
                    self._counts[dag_id] = self._count(dag_id)
                self._tasks[limit] = (spec.max_active_tis_per_dag or 0) - self._counts[dag_id].get(spec.task_id, 0)
        return self._tasks[limit]


def task_limits(instance: Instance) -> tuple[LimitKey, ...]:
    """The limits that the task itself has; most have none."""
    spec = instance.node.spec
    if spec.max_active_tis_per_dag is None and spec.max_active_tis_per_dagrun is None:
        return ()
    found: list[LimitKey] = []
    if spec.max_active_tis_per_dag is not None:
        found.append((TASK, f"{instance.run.graph.dag_id} {spec.task_id}"))
    if spec.max_active_tis_per_dagrun is not None:
        found.append((TASK_IN_RUN, f"{instance.run.id} {spec.task_id}"))
    return tuple(found)


def active_by_task(connection: Connection, dag_id: str, returned: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Active instances of each task of a DAG, in all its runs.

    :param returned: by DAG and task, those that the database still counts and the caller is about to end.
    """
    counts = connection.execute(_ACTIVE, {"b_dag": dag_id})
    return {row.task_id: row.active - returned.get((dag_id, row.task_id), 0) for row in counts}


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


def read_parts(connection: Connection) -> dict[str, int]:
    """Lock the pools together with other schedulers that do so; return what each of them may take of each pool.

    That is one part, if there is a part for every scheduler that has not ended, and nothing else. Limits hold: whoever
    counted last has seen all that was committed before, and of each other scheduler at most one transaction was under
    way, which took at most a part. All is counted by one statement, that is at one moment.
    """
    connection.execute(_SHARED_POOLS)
    parts = {}
    for name, slots, used, schedulers in connection.execute(_COUNTED):
        part = slots // PARTS
        parts[name] = UNLIMITED if slots < 0 else part if slots - used >= part * schedulers else 0
    return parts


@dataclass(slots=True)
class PoolAccess:
    """Whether one scheduler counts the pools alone, for the rest of its transaction, or beside others.

    Alone, each waits until the other has committed: two schedulers are then no faster than one.
    """

    has_others: bool = False
    beside: bool = False
    """How the pools were read last."""
    _steps_alone: int = 0

    def read(self, connection: Connection, returned: Mapping[str, int]) -> dict[str, int]:
        """Lock the pools; return the slots that may be taken of each.

        :param returned: slots that this transaction gives back and the DB still counts as used.
        """
        self.beside = self.has_others and not self._steps_alone and connection.dialect.name != "sqlite"
        if self.beside:
            return read_parts(connection)
        return {name: free + returned.get(name, 0) for name, free in read_pools(connection).items()}

    def judge(self, limits: Limits) -> bool:
        """Note how it went; return whether a part was too small, so that the same is to be tried again alone."""
        if limits.fell_short:
            self._steps_alone = STEPS_ALONE
        else:
            self._steps_alone = max(0, self._steps_alone - 1)
        return self.beside and limits.fell_short
