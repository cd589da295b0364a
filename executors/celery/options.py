"""The options of ``[celery]``, and those of its broker and result backend, read once and typed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from executors.celery.endpoints import Endpoint
from executors.errors import ExecutorConfigError
from executors.option_reader import OptionReader

CLASS_NAMES = ("", "CeleryExecutor", "executors.celery.executor.CeleryExecutor")
"""Names of an instance without an alias: its queues are called as the tasks call them."""
DEFAULT_BROKER = "redis://localhost:6379/0"
VISIBILITY_TIMEOUT = 86_400
"""Seconds after which Redis hands out again a message that was never acknowledged. A day: a task that runs longer only
causes a second message, which is refused the start; what shortens a loss is the heartbeat, not this."""
BROKER_PREFIX = "broker_transport_options."
RESULT_PREFIX = "result_backend_transport_options."
LONGEST_QUEUE = 255
"""Bytes of a queue's name, prefix included: AMQP's limit."""


@dataclass(frozen=True, slots=True)
class Tls:
    """``ssl_active`` and what goes with it."""

    ca: str | None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class CeleryOptions:
    """Options of one instance; the names in brackets are the configuration's, where they differ."""

    broker: Endpoint
    result_backend: Endpoint | None
    """``None``: nothing but the attempts' own reports tells how they end."""
    app_name: str = "hybrid"
    """[celery_app_name]"""
    queue_prefix: str = ""
    """Before the name of every queue: instances on one broker never see each other's work. By default the alias and a
    dot; empty without an alias."""
    default_queue: str = "default"
    operation_timeout: float = 1.0
    """Seconds that a heartbeat may talk with the broker, whatever happens there."""
    publish_retries: int = 3
    """[task_publish_max_retries] within that time."""
    stuck_after: float = 60.0
    """Seconds after which a message that nobody took, and that is in no queue, is published again with the same id."""
    result_interval: float = 5.0
    """Seconds between two looks at the result backend."""
    remote_control: bool = True
    """[worker_enable_remote_control]"""
    worker_concurrency: int = 16
    prefetch_multiplier: int = 1
    """[worker_prefetch_multiplier]"""
    pool: str = "prefork"
    tls: Tls | None = None
    broker_transport: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """[celery_broker_transport_options]"""
    result_transport: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """[celery_result_backend_transport_options]"""

    def queue(self, name: str | None) -> str:
        """The broker's name of a task's queue. Raises ``ValueError`` where no broker takes it."""
        full = self.queue_prefix + (name or self.default_queue)
        if len(full.encode()) > LONGEST_QUEUE:
            raise ValueError(f"the name of queue {full[:40]!r}… has more than {LONGEST_QUEUE} bytes")
        if not full.isprintable():
            raise ValueError(f"the name of queue {full!r} holds what is no printable character")
        return full


def read_options(options: Mapping[str, str], name: str) -> CeleryOptions:
    """Read ``context.options`` of the instance ``name``. Raises :class:`ExecutorConfigError` naming the option."""
    read = _Reader(options, name or CLASS_NAMES[1])
    broker = read.endpoint("broker_url", DEFAULT_BROKER)
    assert broker is not None
    backend = read.endpoint("result_backend", broker.url if broker.is_redis else "")
    transport, result_transport = read.nested(BROKER_PREFIX), read.nested(RESULT_PREFIX)
    if backend == broker and broker.shown.startswith("sentinel"):
        for option in ("master_name", "sentinel_kwargs"):
            if option in transport:
                result_transport.setdefault(option, transport[option])
    prefix = options.get("queue_prefix")
    return CeleryOptions(
        broker=broker,
        result_backend=backend,
        app_name=read.text("celery_app_name", "hybrid"),
        queue_prefix=("" if name in CLASS_NAMES else f"{name}.") if prefix is None else prefix.strip(),
        default_queue=read.text("default_queue", "default"),
        operation_timeout=read.seconds("operation_timeout", 1.0, least=0.05),
        publish_retries=read.whole("task_publish_max_retries", 3),
        stuck_after=read.seconds("stuck_after", 60.0, least=0.1),
        result_interval=read.seconds("result_interval", 5.0, least=0.01),
        remote_control=read.flag("worker_enable_remote_control", True),
        worker_concurrency=read.whole("worker_concurrency", 16, least=1),
        prefetch_multiplier=read.whole("worker_prefetch_multiplier", 1),
        pool=read.text("pool", "prefork"),
        tls=read.tls(),
        broker_transport=transport,
        result_transport=result_transport,
    )


class _Reader(OptionReader):
    def endpoint(self, option: str, default: str) -> Endpoint | None:
        """``None`` where it is off. Never repeats the URL, which may hold a password."""
        url = self.text(option, default)
        if url.lower() in ("", "none", "disabled", "disabled://"):
            return None if option != "broker_url" else Endpoint.parse(DEFAULT_BROKER)
        try:
            return Endpoint.parse(url)
        except ValueError as error:
            raise ExecutorConfigError(f"{self._name}: option {option} cannot be read: {error}") from None

    def tls(self) -> Tls | None:
        if not self.flag("ssl_active", False):
            return None
        paths = {option: self.text(option, "") or None for option in ("ssl_cacert", "ssl_cert", "ssl_key")}
        if not self.flag("ssl_mutual", True):
            return Tls(paths["ssl_cacert"])
        missing = [option for option, path in paths.items() if path is None]
        if missing:
            raise ExecutorConfigError(
                f"{self._name}: ssl_active = True needs {', '.join(missing)}; or set ssl_mutual = False"
            )
        return Tls(paths["ssl_cacert"], paths["ssl_cert"], paths["ssl_key"])

    def nested(self, prefix: str) -> dict[str, Any]:
        """Options below ``prefix``; each value is JSON where it reads as such, else text."""
        found: dict[str, Any] = {}
        for option, raw in self._options.items():
            if option.startswith(prefix):
                try:
                    found[option.removeprefix(prefix)] = json.loads(raw)
                except ValueError:
                    found[option.removeprefix(prefix)] = {"True": True, "False": False}.get(raw.strip(), raw)
        return found
