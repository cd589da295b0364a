"""What DAGs and tasks get that do not say otherwise."""

from __future__ import annotations

from typing import Any

from runtime.config.settings import Settings


def task_defaults(settings: Settings) -> dict[str, Any]:
    """The fields of :class:`runtime.authoring.defaults.Defaults`, as plain values."""
    core = settings.core
    return {
        "timezone": core.default_timezone,
        "retries": core.default_task_retries,
        "retry_delay": core.default_task_retry_delay,
        "execution_timeout": core.default_task_execution_timeout,
        "queue": settings.operators.default_queue,
        "max_active_tasks": core.max_active_tasks_per_dag,
        "max_active_runs": core.max_active_runs_per_dag,
        "catchup": settings.scheduler.catchup_by_default,
    }
