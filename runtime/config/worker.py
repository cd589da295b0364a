"""What a worker process is told of the settings: plain text, no database URL, no key. It travels by pipe: what the
secrets backend is made with may be a password."""

from __future__ import annotations

import msgspec

from runtime.config.defaults import task_defaults
from runtime.config.settings import Settings
from runtime.secrets.access import SecretsConfig


def worker_config(settings: Settings) -> dict[str, str]:
    """The mapping that :func:`runtime.worker.settings.read_settings` understands."""
    core = settings.core
    return {
        "dags_folder": str(core.dags_folder),
        "base_log_folder": str(settings.logging.base_log_folder),
        "heartbeat_sec": str(settings.scheduler.task_heartbeat_sec),
        "heartbeat_timeout": str(settings.scheduler.task_instance_heartbeat_timeout),
        "killed_task_cleanup_time": str(core.killed_task_cleanup_time),
        "callback_timeout": str(core.callback_timeout),
        "import_timeout": str(core.dagbag_import_timeout),
        "on_version_mismatch": core.on_version_mismatch,
        "log_level": settings.logging.logging_level,
        "defaults": msgspec.json.encode(task_defaults(settings)).decode(),
        "secrets": msgspec.json.encode(secrets_config(settings)).decode(),
    }


def secrets_config(settings: Settings) -> SecretsConfig:
    """What a process that runs user code is told of the secrets backend, and of what it must not show."""
    core = settings.core
    return SecretsConfig(
        backend=settings.secrets.backend,
        backend_kwargs=settings.secrets.backend_kwargs,
        words=tuple(word.strip() for word in core.sensitive_var_conn_names.split(",") if word.strip()),
        by_name=core.hide_sensitive_var_conn_fields,
        shortest=settings.logging.min_length_masked_secret,
    )


def remote_worker_config(settings: Settings) -> dict[str, str]:
    """The same for a worker that reports over HTTP."""
    workers = settings.workers
    return worker_config(settings) | {
        "home": str(settings.home),
        "start_patience": str(workers.start_patience),
        "task_api_url": settings.task_api_url,
        "task_api_timeout": str(workers.execution_api_timeout),
    }
