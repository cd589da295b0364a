"""An attempt of a task that does nothing, run by a process that waits for its attempt.

A forked process pays for each page that it writes to, and most of those that any task writes to are the interpreter's
and ours: about 500 copies, more than a millisecond. Paid while nobody waits, they are not paid between start and end.
"""

from __future__ import annotations

import os

from executors.local.channel import ChannelClosedError
from runtime.authoring.dag import DAG
from runtime.authoring.loader import LoadedFile
from runtime.authoring.python import PythonOperator
from runtime.core.messages import Asked, RunContext
from runtime.log.capture import AttemptLog
from runtime.worker import protocol
from runtime.worker.attempt import run_logged
from runtime.worker.interrupts import Interrupts
from runtime.worker.protocol import Begin, Go
from runtime.worker.settings import WorkerSettings
from runtime.worker.task import Job

_NAME = "rehearsal"


class Rehearsal:
    """Made once in the worker, performed in its children."""

    def __init__(self, settings: WorkerSettings, log: AttemptLog) -> None:
        dag = DAG(_NAME)
        dag.templates.prepare(PythonOperator(task_id=_NAME, python_callable=_nothing, dag=dag))
        self._settings = settings
        self._log = log
        self._loaded = LoadedFile(_NAME, _NAME, {_NAME: dag})
        run = RunContext(_NAME, _NAME, _NAME, -1, 1, 0, 1, _NAME, _NAME, "manual", run_after=0, logical_date=0)
        self._go = protocol.encode(Go("", run, held=True))

    def perform(self) -> None:
        """Leaves nothing changed that the real attempt does not set again."""
        go = protocol.decode_go(self._go)
        job = Job(go.context, self._settings, self._loaded, _nobody, _NoInterrupts(), _ignore)
        protocol.encode(run_logged(go.attempt_id, job, self._log, os.devnull))
        self._log.close()


class _NoInterrupts(Interrupts):
    """SIGTERM keeps its default: what ends the rehearsal must not be taken for a rehearsal's end."""

    def arm(self, limit: float | None, what: str = "") -> None:
        """Do nothing."""

    def disarm(self) -> None:
        """Do nothing."""


def _nothing() -> None:
    """The task."""


def _nobody(request: Asked) -> bytes:
    raise ChannelClosedError("nobody listens")


def _ignore(begin: Begin) -> None:
    """There is nobody to be told."""
