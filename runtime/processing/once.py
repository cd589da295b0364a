"""Parsing the DAGs folder once, for commands that need what is in it now."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runtime.authoring.defaults import Defaults
from runtime.config import Settings
from runtime.config.defaults import task_defaults
from runtime.config.plugins import use_plugins
from runtime.config.worker import secrets_config
from runtime.core.specs import ParsedFile
from runtime.db.stored_secrets import StoredSecrets
from runtime.processing.errands import ErrandOptions
from runtime.processing.processor import DagProcessor, DagStore
from runtime.secrets.access import Supply


def make_processor(settings: Settings, store: DagStore) -> DagProcessor:
    """A processor for the configured folder that stores into ``store``."""
    use_plugins(settings)
    section = settings.dag_processor
    return DagProcessor(
        settings.core.dags_folder,
        settings.core.executor,
        store,
        import_timeout=settings.core.dagbag_import_timeout,
        refresh_interval=section.refresh_interval,
        min_file_process_interval=section.min_file_process_interval,
        max_workers=section.parsing_processes,
        defaults=Defaults(**task_defaults(settings)),
        secrets=_secrets(settings),
    )


def _secrets(settings: Settings) -> Supply:
    return Supply(partial(StoredSecrets, settings), secrets_config(settings))


def errand_options(settings: Settings) -> ErrandOptions:
    """What errands go by."""
    return ErrandOptions(
        dags_folder=settings.core.dags_folder,
        log_folder=settings.logging.base_log_folder,
        import_timeout=settings.core.dagbag_import_timeout,
        callback_timeout=settings.core.callback_timeout,
        max_workers=settings.dag_processor.parsing_processes,
        log_level=settings.logging.logging_level,
        defaults=Defaults(**task_defaults(settings)),
        secrets=_secrets(settings),
    )


def parse_into(settings: Settings) -> Callable[[DagStore], list[ParsedFile]]:
    """A function that parses every file of the configured folder into a store."""
    return lambda store: make_processor(settings, store).parse_once()
