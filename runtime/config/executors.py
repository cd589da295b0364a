"""The executors that the settings name."""

from __future__ import annotations

from executors.registry import ExecutorRegistry
from runtime.config.plugins import use_plugins
from runtime.config.settings import Settings


def load_registry(settings: Settings) -> ExecutorRegistry:
    """Import the classes of ``[core] executor``; what is only a warning is in its ``warnings``.

    Raises :class:`~executors.errors.ExecutorConfigError`.
    """
    use_plugins(settings)
    return ExecutorRegistry.load(
        settings.core.executor, options=settings.executor_options, parallelism=settings.core.parallelism
    )
