"""Claiming runs, and building their models from the database."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, exists, func, insert, or_, select, update

from runtime.core.ids import uuid7
from runtime.core.messages import DECISION
from runtime.core.specs import decode_dag
from runtime.core.states import RunState, TaskState
from runtime.db.schema import dag, dag_run, dag_version, run_inbox, run_is_open, task_attempt, task_instance, xcom
from runtime.db.transitions import GuardRefusedError, record_run_event
from runtime.scheduler import past
from runtime.scheduler.backfilling import under_way
from runtime.scheduler.callbacks import owing_rows
from runtime.scheduler.graph import DagGraph, Node, build_graph
from runtime.scheduler.leases import Identity
from runtime.scheduler.runs import Instance, RunModel

KEPT_GRAPHS = 256


def _fitting_runs() -> Select[Any]:
    """Queued runs within their DAG's ``max_active_runs``: others must not fill the query's limit and hide them."""
    place = func.row_number().over(partition_by=dag_run.c.dag_id, order_by=(dag_run.c.run_after, dag_run.c.id))
    queued = (
        select(dag_run.c.id, dag_run.c.dag_id, place.label("place"))
        .where(run_is_open, dag_run.c.state == RunState.QUEUED, dag_run.c.backfill_id.is_(None))
        .subquery("queued")
    )
    running = (
        select(dag_run.c.dag_id, func.count().label("runs"))
        .where(run_is_open, dag_run.c.state == RunState.RUNNING, dag_run.c.backfill_id.is_(None))
        .group_by(dag_run.c.dag_id)
        .subquery("running")
    )
    return (
        select(queued.c.id)
        .join(dag, dag.c.dag_id == queued.c.dag_id)
        .join(running, running.c.dag_id == queued.c.dag_id, isouter=True)
        .where(dag.c.is_paused.is_(False), queued.c.place <= dag.c.max_active_runs - func.coalesce(running.c.runs, 0))
    )


_CLAIMABLE = (
    select(dag_run, dag.c.max_active_runs)
    .join(dag, dag.c.dag_id == dag_run.c.dag_id)
    .where(
        run_is_open,
        dag_run.c.lease_owner.is_(None),
        or_(
            dag_run.c.state == RunState.RUNNING,
            dag_run.c.id.in_(_fitting_runs()),
            # A backfill makes no more runs than may be active at once; it is no burden to the DAG's own limit.
            and_(dag_run.c.backfill_id.is_not(None), dag.c.is_paused.is_(False)),
        ),
    )
    .order_by(dag_run.c.state.desc(), dag_run.c.run_after, dag_run.c.id)
)


class GraphCache:
    """The newest graphs by version; one is decoded once, however many runs walk it."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[str, DagGraph] = OrderedDict()

    def get(self, connection: Connection, version_id: str) -> DagGraph:
        if version_id in self._graphs:
            self._graphs.move_to_end(version_id)
            return self._graphs[version_id]
        row = connection.execute(select(dag_version).where(dag_version.c.id == version_id)).one()
        graph = build_graph(version_id, row.rel_path, row.file_hash, decode_dag(row.spec))
        self._graphs[version_id] = graph
        if len(self._graphs) > KEPT_GRAPHS:
            self._graphs.popitem(last=False)
        return graph


_HAS_WORK = select(
    or_(
        exists().where(run_is_open, dag_run.c.lease_owner.is_(None)),
        exists().where(dag.c.is_active, dag.c.is_paused.is_(False), dag.c.next_run_after <= bindparam("b_at")),
        exists().where(run_inbox.c.id.is_not(None)),
        under_way,
    )
)


def has_work(connection: Connection, at: int) -> bool:
    """Whether there is anything for a scheduler that holds no runs: one to claim or create, or a report."""
    return bool(connection.execute(_HAS_WORK, {"b_at": at}).scalar())


def claimable_runs(
    connection: Connection, limit: int, *, besides: Collection[int] = (), only: int | None = None
) -> list[Row[Any]]:
    """Open runs that nobody owns, running ones first, queued ones as far as their DAG's ``max_active_runs`` allows.

    :param besides: runs to be left alone.
    :param only: look at this run alone.
    """
    query = _CLAIMABLE.limit(limit).with_for_update(of=dag_run, skip_locked=True, key_share=True)
    if besides:
        query = query.where(dag_run.c.id.not_in(besides))
    if only is not None:
        query = query.where(dag_run.c.id == only)
    rows = list(connection.execute(query))
    queued = {row.dag_id for row in rows if row.state == RunState.QUEUED and row.backfill_id is None}
    if not queued:
        return rows
    active = _active_runs(connection, queued)
    return [row for row in rows if _fits(row, active)]


def count_claimable(connection: Connection, most: int, *, besides: Collection[int] = ()) -> int:
    """How many runs there are to be claimed, by anybody; counts up to ``most``. Locks nothing."""
    query = _CLAIMABLE.with_only_columns(dag_run.c.id, maintain_column_froms=True).limit(most)
    if besides:
        query = query.where(dag_run.c.id.not_in(besides))
    return len(connection.execute(query).all())


def claim(connection: Connection, row: Row[Any], me: Identity, graphs: GraphCache, at: int) -> RunModel:
    """Take the lease of a run, start it where it is queued, and load it. What its inbox holds is thereby applied."""
    started_at = row.start_date if row.state == RunState.RUNNING and row.start_date else at
    changed = connection.execute(
        update(dag_run)
        .where(dag_run.c.id == row.id, dag_run.c.lease_owner.is_(None), dag_run.c.state == row.state)
        .values(lease_owner=me.id, lease_epoch=row.lease_epoch + 1, state=RunState.RUNNING, start_date=started_at)
    ).rowcount
    if changed != 1:
        raise GuardRefusedError(f"run {row.run_id} of {row.dag_id} was claimed by another scheduler")
    if row.state == RunState.QUEUED:
        actor = f"scheduler {me.id}"
        record_run_event(connection, at=at, dag_run_id=row.id, old=row.state, new=RunState.RUNNING, actor=actor)
    model = RunModel(
        identifier=row.id,
        run_id=row.run_id,
        graph=graphs.get(connection, row.version_id),
        epoch=row.lease_epoch + 1,
        run_after=row.run_after,
        started_at=started_at,
    )
    fill(connection, model)
    return model


def reload(connection: Connection, old: RunModel) -> RunModel | None:
    """Build the model of a run anew, under the same lease; ``None`` where that is over.

    So it is after a commit that let go of the run, or ended it, and whose answer was lost.
    """
    lease = select(dag_run.c.id).where(
        run_is_open,
        dag_run.c.id == old.id,
        dag_run.c.lease_owner.is_not(None),
        dag_run.c.lease_epoch == old.epoch,
    )
    if connection.execute(lease).first() is None:
        return None
    model = RunModel(
        identifier=old.id,
        run_id=old.run_id,
        graph=old.graph,
        epoch=old.epoch,
        run_after=old.run_after,
        started_at=old.started_at,
    )
    fill(connection, model)
    return model


def paused_dags(connection: Connection) -> set[str]:
    """DAGs that start nothing now."""
    return set(connection.execute(select(dag.c.dag_id).where(dag.c.is_paused)).scalars())


def drop_stray_inbox_rows(connection: Connection) -> None:
    """Forget reports of runs that have ended: whoever reopens one reads all of it."""
    open_runs = select(dag_run.c.id).where(run_is_open)
    connection.execute(delete(run_inbox).where(run_inbox.c.dag_run_id.not_in(open_runs)))


def release_forgotten(connection: Connection, me: Identity, known: AbstractSet[int]) -> None:
    """Let go of runs that are ours in the DB alone: the answer to the commit that claimed them was lost."""
    query = select(dag_run.c.id).where(run_is_open, dag_run.c.lease_owner == me.id)
    forgotten = [identifier for identifier in connection.execute(query).scalars() if identifier not in known]
    if forgotten:
        connection.execute(update(dag_run).where(dag_run.c.id.in_(forgotten)).values(lease_owner=None))


def fill(connection: Connection, model: RunModel) -> None:
    """Read the model's task instances, creating those that do not exist yet; forget what its inbox says."""
    model.owing = owing_rows(connection, model)
    connection.execute(delete(run_inbox).where(run_inbox.c.dag_run_id == model.id))
    query = (
        select(task_instance, task_attempt.c.executor)
        .join(task_attempt, task_attempt.c.id == task_instance.c.attempt_id, isouter=True)
        .where(task_instance.c.dag_run_id == model.id)
    )
    present: set[str] = set()
    for row in connection.execute(query):
        node = model.graph.by_task.get(row.task_id)
        present.add(row.task_id)
        if node is None:
            continue
        instance = Instance(model, node, row.id, row.map_index, row.max_tries)
        instance.state = TaskState(row.state)
        instance.try_number = row.try_number
        instance.dispatch_number = row.dispatch_number
        instance.infra_losses = row.infra_losses
        instance.attempt_id = row.attempt_id
        instance.scheduled_at = row.scheduled_at
        instance.retry_at = row.retry_at
        instance.executor = row.executor or ""
        model.add(instance)
    missing = [node for node in model.graph.nodes if node.spec.task_id not in present]
    _create(connection, model, missing)
    past.hold(connection, model)
    deciding = [node for node in model.graph.nodes if node.spec.decides]
    if deciding:
        model.unfollowed = _unfollowed(connection, model, deciding)


def _create(connection: Connection, model: RunModel, nodes: Iterable[Any]) -> None:
    rows = []
    for node in nodes:
        spec = node.spec
        instance = Instance(model, node, uuid7(), -1, spec.retries)
        model.add(instance)
        rows.append(
            {
                "id": instance.id,
                "dag_run_id": model.id,
                "task_id": spec.task_id,
                "map_index": -1,
                "state": "none",
                "try_number": 0,
                "max_tries": spec.retries,
                "dispatch_number": 0,
                "infra_losses": 0,
                "pool": spec.pool,
                "pool_slots": spec.pool_slots,
                "priority_weight": spec.priority_weight,
                "queue": spec.queue,
            }
        )
    if rows:
        connection.execute(insert(task_instance), rows)


def _unfollowed(connection: Connection, model: RunModel, deciding: Sequence[Node]) -> frozenset[int]:
    """Nodes directly below a branch that has succeeded and not followed them: cleared alone, they are skipped again."""
    query = select(xcom.c.task_id, xcom.c.value).where(xcom.c.dag_run_id == model.id, xcom.c.key == DECISION)
    decisions = {row.task_id: set(json.loads(row.value).get("skipped", ())) for row in connection.execute(query)}
    return frozenset(
        index
        for node in deciding
        if all(instance.state is TaskState.SUCCESS for instance in model.by_node[node.index])
        for index in node.downstream
        if model.graph.nodes[index].spec.task_id in decisions.get(node.spec.task_id, ())
    )


def _active_runs(connection: Connection, dag_ids: Iterable[str]) -> dict[str, int]:
    """Running runs of each DAG; the DAG's row is locked, so that two schedulers cannot both count the last place."""
    names = sorted(dag_ids)
    lock = select(dag.c.dag_id).where(dag.c.dag_id.in_(names)).order_by(dag.c.dag_id).with_for_update(key_share=True)
    connection.execute(lock)
    query = (
        select(dag_run.c.dag_id, func.count())
        .where(
            run_is_open,
            dag_run.c.dag_id.in_(names),
            dag_run.c.state == RunState.RUNNING,
            dag_run.c.backfill_id.is_(None),
        )
        .group_by(dag_run.c.dag_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _fits(row: Row[Any], active: dict[str, int]) -> bool:
    if row.state != RunState.QUEUED or row.backfill_id is not None:
        return True
    if active.get(row.dag_id, 0) >= row.max_active_runs:
        return False
    active[row.dag_id] = active.get(row.dag_id, 0) + 1
    return True
