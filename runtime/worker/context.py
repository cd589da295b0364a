"""The template variables and keyword arguments of a task, under Airflow's names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from runtime.authoring.secrets import CONN, VAR
from runtime.core.clock import moment
from runtime.core.messages import RunContext
from runtime.core.params import check_conf
from runtime.worker import macros
from runtime.worker.task_instance import Ask, TaskInstance

_DATED = frozenset({"ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "logical_date"})
_ELSEWHERE = {
    "execution_date": "it was renamed to logical_date",
    "conf": "a worker has no access to the configuration",
    **{
        f"prev_{name}": "runs do not know their predecessor yet; compute it from data_interval_start"
        for name in (
            "data_interval_start_success",
            "data_interval_end_success",
            "start_date_success",
            "end_date_success",
            "logical_date",
            "ds",
        )
    },
}


class DagRunInfo(msgspec.Struct, frozen=True):
    """``dag_run``. Moments are aware, in UTC."""

    dag_id: str
    run_id: str
    run_type: str
    conf: Mapping[str, Any]
    run_after: datetime
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    start_date: datetime | None


class Context(dict[str, Any]):
    """A plain dictionary that says why a name it lacks is missing."""

    def __missing__(self, name: str) -> Any:
        if name in _DATED:
            raise KeyError(f"{name}: run {self.get('run_id')} has no logical date")
        if name in _ELSEWHERE:
            raise KeyError(f"{name}: {_ELSEWHERE[name]}")
        raise KeyError(name)


def build_context(run: RunContext, dag: Any, task: Any, ask: Ask) -> Context:
    """Everything that ``execute(context)``, templates and ``@task`` keyword arguments may name.

    Dates are standard ``datetime`` in UTC. Without a logical date, what derives from it is absent.
    """
    dag_run = _dag_run(run)
    ti = TaskInstance(run, task, dag_run, ask)
    context = Context(
        dag=dag,
        task=task,
        ti=ti,
        task_instance=ti,
        dag_run=dag_run,
        run_id=run.run_id,
        params=_params(dag, task, run.conf),
        macros=macros,
        run_after=dag_run.run_after,
        data_interval_start=dag_run.data_interval_start,
        data_interval_end=dag_run.data_interval_end,
        task_instance_key_str=f"{run.dag_id}__{run.task_id}__{run.run_id}",
        map_index=run.map_index,
        test_mode=False,
        var=VAR,
        conn=CONN,
    )
    if dag_run.logical_date is not None:
        context.update(_dated(dag_run.logical_date, run))
    return context


def _dag_run(run: RunContext) -> DagRunInfo:
    return DagRunInfo(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_type=run.run_type,
        conf=run.conf,
        run_after=moment(run.run_after),
        logical_date=_moment(run.logical_date),
        data_interval_start=_moment(run.data_interval_start),
        data_interval_end=_moment(run.data_interval_end),
        start_date=_moment(run.run_start_date),
    )


def _dated(date: datetime, run: RunContext) -> dict[str, Any]:
    ts = date.isoformat()
    ds = ts[:10]
    nodash = ds.replace("-", "")
    seconds = f"{nodash}T{ts[11:19].replace(':', '')}"
    return {
        "logical_date": date,
        "ds": ds,
        "ds_nodash": nodash,
        "ts": ts,
        "ts_nodash": seconds,
        "ts_nodash_with_tz": f"{seconds}+0000",
        "task_instance_key_str": f"{run.dag_id}__{run.task_id}__{nodash}",
    }


def _params(dag: Any, task: Any, conf: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the DAG, overlaid with the task's and with the run's ``conf``.

    The run's own were checked when it was made. Raises :class:`~runtime.core.params.ParamError` for the task's.
    """
    if task_schemas := getattr(task, "param_schemas", None):
        check_conf(f"task {task.task_id!r}", task.params, task_schemas, {**dag.params, **conf})
    return {**dict(getattr(dag, "params", None) or {}), **dict(getattr(task, "params", None) or {}), **conf}


def _moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)
