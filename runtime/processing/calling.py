"""Calls the callbacks that no worker will: of DAGs, and of attempts whose process died. Only in a child of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from runtime.authoring.context import active
from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import DagFileError, TaskError
from runtime.authoring.loader import load_file
from runtime.core.errors import HybridError
from runtime.db.errands import Call
from runtime.log.attempt_logs import make_folder
from runtime.log.capture import AttemptLog
from runtime.secrets.masking import masker
from runtime.worker.callbacks import call_back as call_each
from runtime.worker.context import build_context
from runtime.worker.interrupts import Interrupts

LOG_FILE = "callbacks.log"
"""In the folder of the run's logs: what callbacks say that were called outside of an attempt."""
LONGEST = 1_000
"""Characters of what is told of a failure."""


def call_back(
    call: Call, dags_folder: Path, log_folder: Path, limit: float, log_level: str, defaults: Defaults
) -> str | None:
    """Load the file and call; what failed, if anything.

    :param limit: seconds that each callback may take.
    """
    folder = f"{log_folder}/dag_id={call.run.dag_id}/run_id={call.run.run_id}"
    log = AttemptLog(log_level)
    try:
        make_folder(folder)
        log.install()
        log.open(f"{folder}/{LOG_FILE}")
        log.say(call.name)
        failed = _call(call, dags_folder, limit, defaults)
    except BaseException as error:
        text = str(error) if isinstance(error, HybridError) else f"{type(error).__name__}: {error}"
        log.say(text)
        return masker.text(text)[:LONGEST]
    finally:
        log.flush()
        log.drain()
    return masker.text("; ".join(failed))[:LONGEST] or None


def _call(call: Call, dags_folder: Path, limit: float, defaults: Defaults) -> list[str]:
    run = call.run
    loaded = load_file(dags_folder, run.rel_path, defaults)
    signal.setitimer(signal.ITIMER_REAL, 0.0)  # the file is imported; from here on each callback has its own time
    dag = loaded.dags.get(run.dag_id)
    task = dag.task_dict.get(run.task_id) if dag is not None else None
    if dag is None or (call.of_task and task is None):
        missing = f"DAG {run.dag_id!r}" if dag is None else f"task {run.task_id!r} in DAG {run.dag_id!r}"
        raise DagFileError(f"{run.rel_path} has no {missing} any more")
    context = build_context(run, dag, task, _no_service)
    context["ti"].state = call.task_state
    context["reason"] = call.reason
    if call.of_task:
        context["exception"] = TaskError(call.reason) if call.reason else None
    owner: Any = task if call.of_task else dag
    with active(context):
        return call_each(owner, call.kind, context, Interrupts(), limit)


def _no_service(request: Any) -> bytes:
    raise RuntimeError("XComs cannot be used in a callback that runs outside of the task's own process")
