"""What goes wrong in DAG files, and what tasks raise to say how they ended. Airflow's names are kept as aliases."""

from __future__ import annotations

from runtime.core.errors import HybridError


class DagFileError(HybridError):
    """Something in a DAG file cannot be used; the message says what, where and what to do."""


class ArgumentError(DagFileError, TypeError):
    """An argument of a DAG or task that is unknown, missing or of the wrong kind."""


class DuplicateTaskIdError(DagFileError):
    """Two tasks of one DAG have the same id."""


class CycleError(DagFileError):
    """Tasks wait for each other in a circle; the message names it."""


class TaskError(Exception):
    """The task failed; it is tried again while it has tries left."""


class SkipTask(TaskError):  # noqa: N818  it is no error
    """The task decides that there is nothing to do: it ends as *skipped*."""


class FailTask(TaskError):  # noqa: N818  says what it does
    """The task fails for good, whatever tries are left."""


class XComNotFound(TaskError):  # noqa: N818  Airflow's name
    """An XCom that the task needs was never written."""


class TaskTimeout(BaseException):
    """``execution_timeout`` is over. No ``Exception``, so that a task's own ``except Exception`` lets it through."""


AirflowException = TaskError
AirflowSkipException = SkipTask
AirflowFailException = FailTask
AirflowTaskTimeout = TaskTimeout
