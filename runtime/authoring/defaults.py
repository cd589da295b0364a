"""Values that the configuration gives to DAGs and tasks which do not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defaults:
    """Each default is that of the option of the same meaning; durations in seconds."""

    timezone: str = "UTC"
    """Of dates without a zone, and of schedules of DAGs without any."""
    retries: int = 0
    retry_delay: float = 300.0
    execution_timeout: float | None = None
    queue: str = "default"
    max_active_tasks: int = 16
    max_active_runs: int = 16
    catchup: bool = False
    owner: str = "hybrid"
