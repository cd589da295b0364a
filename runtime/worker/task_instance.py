"""``ti``: the attempt as user code sees it, with its two ways to the task service, XCom pull and push."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from runtime.core.clock import micros, moment
from runtime.core.messages import (
    Asked,
    Done,
    RunContext,
    RunStateGet,
    TriggeredRun,
    TriggerRun,
    XComPull,
    XComPush,
    XComValues,
    decode_reply,
)
from runtime.worker.xcom import decode_value, encode_value

if TYPE_CHECKING:
    from runtime.worker.context import DagRunInfo

Ask = Callable[[Asked], bytes]
"""Sends a request to the task service and returns its encoded reply. Blocks. Raises ``ConnectionError``."""


class XComError(RuntimeError):
    """The task service refused to read or write an XCom; the message says why."""


class TriggerError(RuntimeError):
    """The task service refused to start a run, or to tell of one; the message says why."""


class TaskInstance:
    """Airflow's names, read-only data; moments are aware, in UTC."""

    def __init__(self, run: RunContext, task: Any, dag_run: DagRunInfo, ask: Ask) -> None:
        self.dag_id = run.dag_id
        self.task_id = run.task_id
        self.run_id = run.run_id
        self.map_index = run.map_index
        self.try_number = run.try_number
        self.max_tries = run.max_tries
        self.state = "running"
        """For callbacks, what the outcome makes of it: ``success``, ``failed``, ``up_for_retry``, ``skipped``."""
        self.start_date: datetime | None = None if run.task_start_date is None else moment(run.task_start_date)
        self.executor = run.executor
        self.queue = run.queue
        self.pool = run.pool
        self.operator = type(task).__name__
        self.task = task
        self.dag_run = dag_run
        self.logical_date = dag_run.logical_date
        self._ask = ask

    def __repr__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"<TaskInstance {self.dag_id}.{self.task_id}{mapped} {self.run_id} try {self.try_number}>"

    @property
    def log(self) -> logging.Logger:
        """Writes into the task's log."""
        return logging.getLogger("runtime.task")

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """Airflow's five fields: DAG, task, run, try, map index."""
        return self.dag_id, self.task_id, self.run_id, self.try_number, self.map_index

    def xcom_push(self, key: str, value: Any) -> None:
        """Store a JSON value for other tasks. Raises ``XComValueError``, :class:`XComError`."""
        raw = encode_value(value, f"task {self.task_id} pushed")
        data = self._ask(XComPush(attempt_id="", nonce="", key=key, value=raw))
        reply = decode_reply(data) if data else None
        if not isinstance(reply, Done) or not reply.accepted:
            raise XComError(f"xcom_push of key {key!r} failed: {_why(reply)}")

    def xcom_pull(
        self,
        task_ids: str | Iterable[str] | None = None,
        dag_id: str | None = None,
        key: str = "return_value",
        *,
        map_indexes: int | Iterable[int] | None = None,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """Read what tasks of this run (or of ``run_id``) pushed; without ``task_ids``, what this task did.

        One task id gives its value, or a list in the order of map indexes where the task is mapped; several task ids
        give a flat list in their order. ``default`` stands for a value that is not there. Raises :class:`XComError`.
        """
        wanted = _names(task_ids, self.task_id)
        if task_ids is None and map_indexes is None:
            map_indexes = self.map_index
        index = map_indexes if isinstance(map_indexes, int) else None
        chosen = list(map_indexes) if isinstance(map_indexes, Iterable) else None
        found = self._pull(wanted, dag_id or "", key, index, run_id or "")
        if chosen is None and (task_ids is None or isinstance(task_ids, str)):
            return _single(found.get(wanted[0], {}), index, default)
        return [value for task_id in wanted for value in _several(found.get(task_id, {}), chosen, default)]

    def trigger_dagrun(
        self,
        dag_id: str,
        *,
        run_id: str = "",
        conf: Mapping[str, Any] | None = None,
        logical_date: datetime | UnsetType | None = UNSET,
        reset: bool = False,
        unless_paused: bool = False,
    ) -> TriggeredRun:
        """Start a run of a DAG; asked again by the same try, however it was launched, it is the same run.

        :param run_id: empty: made from this task instance and its try.
        :param logical_date: aware; ``None``: the run has none; left out: now.
        :param reset: clear the run where it exists, so that it runs again.
        :param unless_paused: refuse where the DAG is paused; else the run waits.

        ``existed`` is set where it is there already and was not asked to be reset. Raises :class:`TriggerError`.
        """
        at = micros(logical_date) if isinstance(logical_date, datetime) else logical_date
        request = TriggerRun("", "", dag_id, run_id, dict(conf or {}), at, reset, unless_paused)
        return self._of_run(request, f"a run of DAG {dag_id!r} was not started")

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``. Raises :class:`TriggerError` for a run that is not."""
        request = RunStateGet("", "", dag_id, run_id)
        return self._of_run(request, f"the state of run {run_id!r} of DAG {dag_id!r} was not told").state

    def _of_run(self, request: TriggerRun | RunStateGet, failed: str) -> TriggeredRun:
        data = self._ask(request)
        reply = decode_reply(data) if data else None
        if not isinstance(reply, TriggeredRun) or (reply.reason and not reply.existed):
            raise TriggerError(f"{failed}: {_why(reply)}")
        return reply

    def _pull(
        self, wanted: tuple[str, ...], dag_id: str, key: str, index: int | None, run_id: str
    ) -> dict[str, dict[int, Any]]:
        request = XComPull("", "", task_ids=wanted, key=key, map_index=index, dag_id=dag_id, run_id=run_id)
        data = self._ask(request)
        reply = decode_reply(data) if data else None
        if not isinstance(reply, XComValues) or reply.reason:
            raise XComError(f"xcom_pull of key {key!r} of {', '.join(wanted)} failed: {_why(reply)}")
        found: dict[str, dict[int, Any]] = {}
        for task_id, map_index, raw in reply.values:
            found.setdefault(task_id, {})[map_index] = decode_value(raw)
        return found


def _names(task_ids: str | Iterable[str] | None, own: str) -> tuple[str, ...]:
    if task_ids is None:
        return (own,)
    return (task_ids,) if isinstance(task_ids, str) else tuple(task_ids)


def _single(found: dict[int, Any], index: int | None, default: Any) -> Any:
    if not found or index is not None:
        return next(iter(found.values()), default)
    if len(found) == 1 and -1 in found:
        return found[-1]
    return [found[index] for index in sorted(found)]


def _several(found: dict[int, Any], chosen: list[int] | None, default: Any) -> list[Any]:
    if chosen is not None:
        return [found.get(index, default) for index in chosen]
    return [found[index] for index in sorted(found)] or [default]


def _why(reply: Any) -> str:
    return getattr(reply, "reason", "") or "the task service gave no answer"
