"""The settings of one worker, read once from the plain mapping that its host hands over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from runtime.authoring.defaults import Defaults
from runtime.core.errors import ConfigError
from runtime.secrets.access import SecretsConfig

Isolation = Literal["fork", "spawn", "reuse"]
OnMismatch = Literal["run", "fail"]


class WorkerSettings(msgspec.Struct, frozen=True):
    """Durations in seconds."""

    dags_folder: str
    base_log_folder: str
    heartbeat_sec: float = 10.0
    heartbeat_timeout: float = 300.0
    """When the service gives an attempt up; its supervisor has killed it ``FENCE_MARGIN`` seconds earlier."""
    killed_task_cleanup_time: float = 60.0
    """Between SIGTERM and SIGKILL, for ``on_kill`` and ``finally``."""
    callback_timeout: float = 60.0
    """That one callback of a task may take."""
    start_patience: float = 0.0
    """For how long a start that got no answer is asked for again; 0: not at all, its executor launches it anew."""
    import_timeout: float = 30.0
    task_isolation: Isolation = "fork"
    """``fork``: a process per attempt. ``spawn``: a fresh interpreter per attempt. ``reuse``: attempts run in the
    worker process itself, fastest by far, but what one leaves behind the next one finds, and a task that ignores its
    cancellation takes the worker down with it."""
    on_version_mismatch: OnMismatch = "run"
    max_files: int = 4
    """Loaded DAG files per worker: few, because each forked child pays for all of them in page tables."""
    reuse_limit: int = 1000
    """Attempts after which a ``reuse`` worker is replaced."""
    worker_memory_mb: int = 200
    """A worker that has grown beyond this is replaced."""
    log_level: str = "INFO"
    secrets: SecretsConfig = SecretsConfig()
    """Where connections and variables come from; in the mapping, a JSON object."""
    defaults: Defaults = Defaults()
    """What tasks get that do not say otherwise; in the mapping, a JSON object."""


FENCE_MARGIN = 5.0


def read_settings(config: Mapping[str, str]) -> WorkerSettings:
    """Raises :class:`ConfigError` that names the option."""
    for required in ("dags_folder", "base_log_folder"):
        if not config.get(required):
            raise ConfigError(f"worker: option {required} is not set")
    known: dict[str, Any] = {field: config[field] for field in WorkerSettings.__struct_fields__ if field in config}
    _check_choice("task_isolation", known, get_args(Isolation))
    _check_choice("log_level", known, tuple(logging.getLevelNamesMapping()))
    _check_choice("on_version_mismatch", known, get_args(OnMismatch))
    try:
        for nested in ("defaults", "secrets"):
            known[nested] = msgspec.json.decode(config.get(nested) or "{}")
        return msgspec.convert(known, WorkerSettings, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"worker: {error}") from None


def _check_choice(option: str, config: Mapping[str, Any], choices: tuple[str, ...]) -> None:
    value = config.get(option)
    if value is not None and value not in choices:
        raise ConfigError(f"worker: option {option} = {value!r} is none of {', '.join(choices)}")
