"""``retry_exponential_backoff`` as users give it, and the delay of a task's next try."""

from __future__ import annotations

import math
from typing import Any

from runtime.authoring.exceptions import ArgumentError
from runtime.core.messages import RunContext
from runtime.core.retries import retry_pause


def backoff_factor(where: str, value: object) -> float:
    """0 for ``False``, 2 for ``True``, else the factor itself. Raises :class:`ArgumentError`."""
    if isinstance(value, bool):
        return 2.0 if value else 0.0
    if not isinstance(value, int | float) or not math.isfinite(value) or (value != 0 and value < 1):
        raise ArgumentError(
            f"{where}: retry_exponential_backoff must be True, False or a factor from 1 on, not {value!r}"
        )
    return float(value)


def delay_after(task: Any, run: RunContext) -> float:
    """Seconds until the try after the one that ``run`` describes."""
    return retry_pause(
        task.retry_delay,
        task.retry_exponential_backoff,
        task.max_retry_delay,
        dag_id=run.dag_id,
        task_id=run.task_id,
        run_id=run.run_id,
        try_number=run.try_number,
    )
