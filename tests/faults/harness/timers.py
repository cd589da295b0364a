"""The options of the deployment: every patience as it is shipped, divided by one factor."""

from __future__ import annotations

import dataclasses

from runtime.config.options import SECTIONS

TIMERS: dict[str, tuple[str, ...]] = {
    "core": ("killed_task_cleanup_time",),
    "database": ("answer_timeout", "idle_transaction_timeout"),
    "scheduler": (
        "scheduler_heartbeat_sec",
        "scheduler_idle_sleep_time",
        "job_heartbeat_sec",
        "lease_seconds",
        "task_heartbeat_sec",
        "task_instance_heartbeat_timeout",
        "task_queued_timeout",
        "shutdown_grace",
        "executor_call_deadline",
    ),
    "execution_api": ("jwt_expiration_time",),
    "workers": ("execution_api_timeout", "start_patience"),
}
"""Options that say how long something waits. None goes below the least that the option takes: the heartbeat timeout of
60 s becomes 10 s, however fast the rest is, for a supervisor stops its task 5 s before it."""
LEASTS = {"execution_api_timeout": 0.5, "answer_timeout": 1.0, "idle_transaction_timeout": 1.0, "lease_seconds": 2.0}
"""Seconds below which two busy cores would be mistaken for a dead server, or a dead scheduler."""
CELERY = {"operation_timeout": (1.0, 0.5), "stuck_after": (60.0, 1.0), "result_interval": (5.0, 0.1)}
"""Option of ``[celery]`` → its default, and the least."""
VISIBILITY_TIMEOUT = 60.0
"""Seconds after which Redis gives out again what a dead worker had taken. As shipped it is a day: too long to see that
nothing is left in the broker."""


def fast_timers(factor: float) -> dict[str, dict[str, str]]:
    """Sections with their options, as :meth:`Deployment.configure` takes them."""
    made = {section: {name: f"{timer(section, name, factor):g}" for name in names} for section, names in TIMERS.items()}
    made["celery"] = {name: f"{max(least, default / factor):g}" for name, (default, least) in CELERY.items()}
    made["celery_broker_transport_options"] = {"visibility_timeout": f"{max(5.0, VISIBILITY_TIMEOUT / factor):g}"}
    return made


def timer(section: str, name: str, factor: float) -> float:
    """An option's default in seconds, divided by ``factor``."""
    field = next(field for field in dataclasses.fields(SECTIONS[section]) if field.name == name)
    info = field.metadata["option"]
    return max(float(info.default) / factor, info.minimum or 0.0, LEASTS.get(name, 0.0))
