"""The Celery application of one instance: what the executor publishes with, and what its workers run."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from executors.celery.options import VISIBILITY_TIMEOUT, CeleryOptions, Tls, read_options
from executors.errors import ExecutorConfigError

if TYPE_CHECKING:
    from celery import Celery

RESULT_EXPIRES = 86_400
"""Seconds that a result stays readable: longer than any outage that a scheduler may have."""
_OVERRIDES = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_BROKER_READ_URL": "broker_url",
    "CELERY_BROKER_WRITE_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "result_backend",
}
"""Variables that Celery prefers over what an application is told, in every application of the process."""
_TIMEOUTS = {
    "redis": ("socket_timeout", "socket_connect_timeout"),
    "amqp": ("connect_timeout", "read_timeout", "write_timeout"),
}
"""Broker's family → the transport options that bound an operation."""
_DATABASE_TIMEOUTS = {"connect_timeout": 2, "tcp_user_timeout": 2000}
"""Seconds and milliseconds: libpq's least."""
_importing = threading.Lock()
"""Two lanes may start at once, and Celery imports its parts as they are first used."""


def make_app(options: Mapping[str, str], name: str) -> Celery:
    """A new application for the instance called ``name`` (its alias, else its class).

    It shares nothing with others of the process: it is neither current nor default, and reads no settings module.
    Queues are called as :meth:`CeleryOptions.queue` says. Connects to nothing. Raises :class:`ExecutorConfigError`.
    """
    return _make(read_options(options, name), {})


def make_publishing_app(options: CeleryOptions) -> Celery:
    """As :func:`make_app`, for the executor: no operation waits for longer than half of ``operation_timeout``."""
    half = options.operation_timeout / 2
    timeouts = dict.fromkeys(_TIMEOUTS.get(_family(options), ()), half)
    own = {
        "broker_transport_options": {**_broker_transport(options), **timeouts, "retry_on_timeout": False},
        "broker_connection_timeout": half,
        "redis_socket_timeout": half,
        "redis_socket_connect_timeout": half,
        "redis_retry_on_timeout": False,
        "result_backend_always_retry": False,
        "result_backend_max_retries": 0,
        "database_engine_options": {"connect_args": _DATABASE_TIMEOUTS} if _is_postgres(options) else {},
    }
    return _make(options, own)


def _make(options: CeleryOptions, own: dict[str, Any]) -> Celery:
    settings = {**celery_settings(options), **own}
    for variable, setting in _OVERRIDES.items():
        if os.environ.get(variable, settings[setting] or "") != (settings[setting] or ""):
            raise ExecutorConfigError(
                f"the environment variable {variable} differs from [celery] {setting} and would overrule it; unset it"
            )
    with _importing:
        from celery import Celery

        app = Celery(options.app_name, set_as_current=False, loader="app", fixups=[])
        app.config_from_object(settings, force=True)
        _ = app.conf.broker_url, app.amqp
    return app


def celery_settings(options: CeleryOptions) -> dict[str, Any]:
    """What Celery calls them."""
    backend = options.result_backend
    return {
        "broker_url": options.broker.url,
        "broker_transport_options": _broker_transport(options),
        "broker_use_ssl": _broker_tls(options),
        "broker_connection_retry_on_startup": True,
        "result_backend": backend.url if backend else None,
        "result_backend_transport_options": dict(options.result_transport),
        "redis_backend_use_ssl": _redis_tls(options.tls) if options.tls and backend and backend.is_redis else None,
        "result_expires": RESULT_EXPIRES,
        "result_extended": False,  # arguments hold a ticket
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "task_protocol": 2,
        "task_default_queue": options.queue(None),
        "task_create_missing_queues": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_concurrency": options.worker_concurrency,
        "worker_prefetch_multiplier": options.prefetch_multiplier,
        "worker_pool": options.pool,
        "worker_enable_remote_control": options.remote_control,
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # they report to the task API, not to the broker
        "control_exchange": f"{options.queue_prefix}celery",
        "event_exchange": f"{options.queue_prefix}celeryev",
        "event_queue_prefix": f"{options.queue_prefix}celeryev",
        "enable_utc": True,
        "timezone": "UTC",
    }


def _broker_transport(options: CeleryOptions) -> dict[str, Any]:
    if _family(options) != "redis":
        confirm = {"confirm_publish": True} if _family(options) == "amqp" else {}
        return {**confirm, **options.broker_transport}
    prefix = options.queue_prefix
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        # Else the instance with the shortest visibility timeout would take back the messages of all.
        "unacked_key": f"{prefix}unacked",
        "unacked_index_key": f"{prefix}unacked_index",
        "unacked_mutex_key": f"{prefix}unacked_mutex",
        "socket_keepalive": True,
        **options.broker_transport,
    }


def _family(options: CeleryOptions) -> str:
    if options.broker.is_redis:
        return "redis"
    return "amqp" if "amqp" in options.broker.shown.partition(":")[0] else ""


def _is_postgres(options: CeleryOptions) -> bool:
    return options.result_backend is not None and options.result_backend.shown.startswith("db+postgresql")


def _broker_tls(options: CeleryOptions) -> dict[str, Any] | None:
    if options.tls is None:
        return None
    if options.broker.is_redis:
        return _redis_tls(options.tls)
    tls = options.tls
    paths = {"ca_certs": tls.ca, "certfile": tls.cert, "keyfile": tls.key}
    return {"cert_reqs": ssl.CERT_REQUIRED, **{key: path for key, path in paths.items() if path}}


def _redis_tls(tls: Tls) -> dict[str, Any]:
    paths = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **{key: path for key, path in paths.items() if path}}
