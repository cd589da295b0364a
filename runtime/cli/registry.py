"""The executors that the settings name."""

from __future__ import annotations

from executors.registry import ExecutorRegistry
from runtime.config import Settings


def configured_executors(settings: Settings) -> ExecutorRegistry:
    """Import the classes of ``[core] executor``. Raises :class:`~executors.errors.ExecutorConfigError`."""
    return ExecutorRegistry.load(
        settings.core.executor, options=settings.executor_options, parallelism=settings.core.parallelism
    )
