"""The executors that the settings name."""

from __future__ import annotations

from executors.registry import BrokenExecutor, ConfiguredExecutor, ExecutorRegistry, load_each
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


def survey_executors(settings: Settings) -> list[ConfiguredExecutor | BrokenExecutor]:
    """All entries of ``[core] executor``, for whoever only looks: those that cannot be loaded say why.

    Raises :class:`~executors.errors.ExecutorConfigError` for a bad list.
    """
    use_plugins(settings)
    return load_each(settings.core.executor, options=settings.executor_options, parallelism=settings.core.parallelism)
