"""A task that starts a run of another DAG."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from runtime.authoring import arguments as check
from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.exceptions import ArgumentError, SkipTask, TaskError
from runtime.authoring.references import Reference
from runtime.core.states import RunState


class TriggerDagRunOperator(BaseOperator):
    """Starts a run of the DAG ``trigger_dag_id``, once for each try, however often the try is launched.

    Pushes the XComs ``trigger_run_id`` and ``trigger_dag_id``.

    :param trigger_run_id: by default made from the task instance and its try.
    :param conf: the run's ``conf``: values for its params.
    :param logical_date: aware datetime or ISO text; ``None`` for a run without; default: the time of the call.
    :param reset_dag_run: where the run exists, by id or by date, clear it, so that it runs again; else fail.
    :param wait_for_completion: look every ``poke_interval`` seconds until the run is in one of ``allowed_states``
        (default ``success``) or of ``failed_states`` (default ``failed``), which fails the task.
    :param skip_when_already_exists: end as skipped where the run exists.
    :param fail_when_dag_is_paused: fail where the DAG is paused; else the run waits until it is not.
    """

    template_fields: ClassVar[Sequence[str]] = (
        "trigger_dag_id",
        "trigger_run_id",
        "logical_date",
        "conf",
        "wait_for_completion",
        "skip_when_already_exists",
    )

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: Mapping[str, Any] | Reference | None = None,
        logical_date: str | datetime | UnsetType | None = UNSET,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = f"task {self.task_id!r}"
        self.trigger_dag_id = _text(where, "trigger_dag_id", trigger_dag_id)
        self.trigger_run_id = None if trigger_run_id is None else _text(where, "trigger_run_id", trigger_run_id)
        self.conf: Any = conf if isinstance(conf, Reference) else check.mapping(where, "conf", conf)
        self.logical_date = _date(where, logical_date)
        self.reset_dag_run = check.flag(where, "reset_dag_run", reset_dag_run)
        self.wait_for_completion = wait_for_completion
        self.poke_interval = check.seconds(where, "poke_interval", poke_interval, positive=True)
        self.allowed_states = _states(where, "allowed_states", allowed_states) or [RunState.SUCCESS]
        self.failed_states = (
            [RunState.FAILED] if failed_states is None else _states(where, "failed_states", failed_states)
        )
        if both := set(self.allowed_states) & set(self.failed_states):
            raise ArgumentError(f"{where}: {', '.join(sorted(both))} stands in allowed_states and in failed_states")
        self.skip_when_already_exists = skip_when_already_exists
        self.fail_when_dag_is_paused = check.flag(where, "fail_when_dag_is_paused", fail_when_dag_is_paused)
        if check.flag(where, "deferrable", deferrable):
            raise ArgumentError(f"{where}: deferrable=True is not supported yet; leave it out")

    def execute(self, context: Mapping[str, Any]) -> None:
        """Start the run, and wait for its end if that was asked for. Raises :class:`TaskError`, :class:`SkipTask`."""
        ti = context["ti"]
        run = ti.trigger_dagrun(
            self.trigger_dag_id,
            run_id=str(self.trigger_run_id or ""),
            conf=self._plain_conf(),
            logical_date=_moment(self.logical_date),
            reset=self.reset_dag_run,
            unless_paused=self.fail_when_dag_is_paused,
        )
        if run.existed:
            raise (SkipTask if _truth(self.skip_when_already_exists) else TaskError)(run.reason)
        self.log.info("run %s of DAG %s is %s", run.run_id, self.trigger_dag_id, run.state)
        ti.xcom_push("trigger_run_id", run.run_id)
        ti.xcom_push("trigger_dag_id", self.trigger_dag_id)
        if _truth(self.wait_for_completion):
            self._wait(ti, run.run_id)

    def _wait(self, ti: Any, run_id: str) -> None:
        while True:
            state = ti.get_dagrun_state(self.trigger_dag_id, run_id)
            if state in self.failed_states:
                raise TaskError(f"run {run_id} of DAG {self.trigger_dag_id} is {state}")
            if state in self.allowed_states:
                self.log.info("run %s of DAG %s is %s", run_id, self.trigger_dag_id, state)
                return
            time.sleep(self.poke_interval)

    def _plain_conf(self) -> dict[str, Any]:
        conf = self.conf
        if isinstance(conf, str):
            conf = json.loads(conf)
        try:
            return dict(check.plain_json("conf", check.mapping(f"task {self.task_id!r}", "conf", conf)))
        except ArgumentError as error:
            raise TaskError(str(error)) from None


def _text(where: str, name: str, value: object) -> Any:
    return value if isinstance(value, Reference) else check.text(where, name, value)


def _date(where: str, value: object) -> Any:
    if value is None or isinstance(value, str | datetime | UnsetType | Reference):
        return value
    raise ArgumentError(f"{where}: logical_date must be a datetime, ISO text or None, not {value!r}")


def _states(where: str, name: str, value: Iterable[str] | None) -> list[RunState]:
    if isinstance(value, str):
        raise ArgumentError(f"{where}: {name} must be a list; write [{value!r}]")
    return [check.one_of(where, name, state, RunState) for state in value or ()]


def _moment(value: Any) -> datetime | UnsetType | None:
    """Raises :class:`TaskError` for text that is no date."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise TaskError(f"logical_date {value!r} is no ISO date; write 2026-03-01T00:00:00+00:00") from None
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value  # type: ignore[no-any-return]


def _truth(value: Any) -> bool:
    """A flag that may have been a template."""
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)
