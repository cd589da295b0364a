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
from runtime.authoring.retrying import delay_after
from runtime.core.messages import RunContext
from runtime.secrets.access import serve
from runtime.secrets.masking import masker
from runtime.worker.callbacks import call_back, call_back_later
from runtime.worker.code import ImportTimeout, import_file
from runtime.worker.context import Context, build_context
from runtime.worker.interrupts import Interrupts, TaskKilled
from runtime.worker.protocol import Begin, Result
from runtime.worker.secrets import ServedSecrets
from runtime.worker.settings import WorkerSettings
from runtime.worker.task_instance import Ask
from runtime.worker.xcom import XComValueError, encode_value

log = logging.getLogger("runtime.task")
_LONGEST_REASON = 500
_STATES = {"success": "success", "skipped": "skipped", "retry": "up_for_retry", "failure": "failed"}
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
    test_mode: bool = False
    """What templates and code find under this name: true for ``tasks test``."""
    callbacks: list[Callable[[], None]] = []
    """Of this outcome, to be run when the supervisor knows it."""

    def run_callbacks(self) -> None:
        """Run what :func:`perform` has left to be run. Raises nothing."""
        for callback in self.callbacks:
            callback()


def perform(job: Job) -> Result:
    """Run the task. Whatever it raises becomes a result, with the traceback in the log; raises nothing."""
    task = context = None
    serve(lambda: ServedSecrets(job.ask), job.settings.secrets)
    try:
        loaded = job.loaded or import_file(job.settings, job.run.rel_path)
        _check_version(loaded, job.run, job.settings.on_version_mismatch)
        dag, task = find_task(loaded, job.run)
        context = build_context(job.run, dag, task, job.ask)
        context["test_mode"] = job.test_mode
        result = _execute(job, task, context)
    except BaseException as error:
        return _with_callbacks(job, _failure(error, job.run, task), task, context, error)
    return _with_callbacks(job, result, task, context)


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


def _execute(job: Job, task: Any, context: Context) -> Result:
    if task.execution_timeout or job.loaded is None:
        job.begin(Begin(task.execution_timeout, delay_after(task, job.run)))
    job.interrupts.arm(task.execution_timeout)
    try:
        with active(context):
            operator = task.render_template_fields(context)
            if task.on_execute_callback:
                call_back(task, "execute", context, job.interrupts, job.settings.callback_timeout)
                job.interrupts.arm(task.execution_timeout)
            job.interrupts.operator = operator
            value = _hand_over(operator, context["ti"], _value_of(operator, context))
            return Result("success", return_value=value, skip=getattr(operator, "skipped", ()))
    finally:
        job.interrupts.disarm()


def _value_of(operator: Any, context: Mapping[str, Any]) -> Any:
    try:
        return operator.execute(context)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
        return None


def _hand_over(operator: Any, ti: Any, value: Any) -> msgspec.Raw | msgspec.UnsetType:
    """What travels with the report; the items of a ``multiple_outputs`` dictionary are pushed one by one before."""
    if value is None or not getattr(operator, "do_xcom_push", True):
        return msgspec.UNSET
    raw = encode_value(value, f"task {ti.task_id} returned")
    if getattr(operator, "multiple_outputs", False):
        if not isinstance(value, Mapping):
            raise XComValueError(f"task {ti.task_id} returned a {type(value).__name__}; multiple_outputs needs a dict")
        for key, item in value.items():
            ti.xcom_push(str(key), item)
    return raw


def _with_callbacks(
    job: Job, result: Result, task: Any, context: Context | None, error: BaseException | None = None
) -> Result:
    """Have the callbacks of this outcome run by and by. Not those of an attempt that was told to end at once."""
    kind = _callback_kind(result, job.run)
    if context is None or isinstance(error, TaskKilled) or not getattr(task, f"on_{kind}_callback", None):
        return result
    context["ti"].state = _STATES[kind]
    context["exception"], context["reason"] = error, result.reason
    limit = job.settings.callback_timeout
    job.callbacks.append(call_back_later(task, kind, context, job.interrupts, limit))
    given = getattr(task, f"on_{kind}_callback")
    return msgspec.structs.replace(result, calls=len(given) if isinstance(given, list | tuple) else 1)


def _callback_kind(result: Result, run: RunContext) -> str:
    if result.outcome != "failed":
        return result.outcome
    return "retry" if result.retry and run.try_number <= run.max_tries else "failure"


def _failure(error: BaseException, run: RunContext, task: Any) -> Result:
    reason = _one_line(error)
    if isinstance(error, SkipTask):
        return Result("skipped", reason)
    traceback = None if isinstance(error, _QUIET) else _user_part(error.__traceback__)
    if traceback is not None:
        log.error("the task raised", exc_info=(type(error), error, traceback))
    delay = 300.0 if task is None else delay_after(task, run)
    return Result("failed", reason, retry=not isinstance(error, FailTask), retry_delay=delay)


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    if isinstance(error, SystemExit):
        text = f"the task called sys.exit({error.code!r})"
    elif not isinstance(error, (AttemptError, FailTask, ImportTimeout, *_QUIET)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    # Before it is cut: half a secret is not found any more.
    line = masker.text(text).split("\n", 1)[0] or type(error).__name__
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def _user_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this file at its top."""
    here = os.path.abspath(__file__)
    while traceback and traceback.tb_next and os.path.abspath(traceback.tb_frame.f_code.co_filename) == here:
        traceback = traceback.tb_next
    return traceback
