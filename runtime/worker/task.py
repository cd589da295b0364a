"""Runs the user code of one attempt in this process, and puts how it ended into a :class:`Result`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import msgspec

from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.context import active
from runtime.authoring.dag import DAG
from runtime.authoring.exceptions import FailTask, SkipTask, TaskTimeout
from runtime.authoring.loader import LoadedFile
from runtime.core.messages import RunContext
from runtime.worker.code import ImportTimeout, import_file
from runtime.worker.context import build_context
from runtime.worker.interrupts import Interrupts, TaskKilled
from runtime.worker.protocol import Begin, Result
from runtime.worker.settings import WorkerSettings
from runtime.worker.task_instance import Ask
from runtime.worker.xcom import XComValueError, encode_value

log = logging.getLogger("runtime.task")
_LONGEST_REASON = 500
_QUIET = (SkipTask, TaskKilled, TaskTimeout, XComValueError)
"""Say it all in one line: their traceback would lead to our own code."""


class AttemptError(Exception):
    """The task cannot be run at all: no such DAG or task in the file, or another version of the file."""


class Job(msgspec.Struct, frozen=True):
    """One attempt in its process. ``loaded`` is ``None`` where this process has to import the file itself."""

    run: RunContext
    settings: WorkerSettings
    loaded: LoadedFile | None
    ask: Ask
    interrupts: Interrupts
    begin: Callable[[Begin], None]
    """Told what the supervisor must know of the task, just before its code runs."""


def perform(job: Job) -> Result:
    """Run the task. Whatever it raises becomes a result, with the traceback in the log; raises nothing."""
    task = None
    try:
        loaded = job.loaded or import_file(job.settings, job.run.rel_path)
        _check_version(loaded, job.run, job.settings.on_version_mismatch)
        dag, task = find_task(loaded, job.run)
        value = _execute(job, dag, task)
    except BaseException as error:
        return _failure(error, task)
    return Result("success", return_value=msgspec.UNSET if value is None else value)


def find_task(loaded: LoadedFile, run: RunContext) -> tuple[DAG, BaseOperator]:
    """The DAG and the task. Raises :class:`AttemptError`."""
    dag = loaded.dags.get(run.dag_id)
    if dag is None:
        raise AttemptError(f"{run.rel_path} has no DAG {run.dag_id!r}; it has {', '.join(loaded.dags) or 'none'}")
    task = dag.task_dict.get(run.task_id)
    if task is None:
        raise AttemptError(f"DAG {run.dag_id!r} in {run.rel_path} has no task {run.task_id!r}")
    return dag, task


def _check_version(loaded: LoadedFile, run: RunContext, policy: str) -> None:
    if loaded.file_hash == run.file_hash:
        return
    story = f"{run.rel_path} is version {loaded.file_hash} here; the run was created with {run.file_hash}"
    if policy == "fail":
        raise AttemptError(story)
    log.warning("%s", story)


def _execute(job: Job, dag: Any, task: Any) -> msgspec.Raw | None:
    context = build_context(job.run, dag, task, job.ask)
    if task.execution_timeout or job.loaded is None:
        job.begin(Begin(task.execution_timeout, task.retry_delay))
    job.interrupts.arm(task.execution_timeout)
    try:
        with active(context):
            job.interrupts.operator = operator = task.render_template_fields(context)
            return _hand_over(operator, context["ti"], _value_of(operator, context))
    finally:
        job.interrupts.disarm()


def _value_of(operator: Any, context: Mapping[str, Any]) -> Any:
    try:
        return operator.execute(context)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
        return None


def _hand_over(operator: Any, ti: Any, value: Any) -> msgspec.Raw | None:
    """What travels with the report; the items of a ``multiple_outputs`` dictionary are pushed one by one before."""
    if value is None or not getattr(operator, "do_xcom_push", True):
        return None
    raw = encode_value(value, f"task {ti.task_id} returned")
    if getattr(operator, "multiple_outputs", False):
        if not isinstance(value, Mapping):
            raise XComValueError(f"task {ti.task_id} returned a {type(value).__name__}; multiple_outputs needs a dict")
        for key, item in value.items():
            ti.xcom_push(str(key), item)
    return raw


def _failure(error: BaseException, task: Any) -> Result:
    reason = _one_line(error)
    if isinstance(error, SkipTask):
        return Result("skipped", reason)
    traceback = None if isinstance(error, _QUIET) else _user_part(error.__traceback__)
    if traceback is not None:
        log.error("the task raised", exc_info=(type(error), error, traceback))
    delay = 300.0 if task is None else task.retry_delay
    return Result("failed", reason, retry=not isinstance(error, FailTask), retry_delay=delay)


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    if isinstance(error, SystemExit):
        text = f"the task called sys.exit({error.code!r})"
    elif not isinstance(error, (AttemptError, FailTask, ImportTimeout, *_QUIET)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = text.split("\n", 1)[0] or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def _user_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this file at its top."""
    here = os.path.abspath(__file__)
    while traceback and traceback.tb_next and os.path.abspath(traceback.tb_frame.f_code.co_filename) == here:
        traceback = traceback.tb_next
    return traceback
