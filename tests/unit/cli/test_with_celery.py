"""Which broker the executors of ``standalone --with-celery`` find."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cli.with_celery import EmbeddedRedis, celery_executor, with_broker
from runtime.config import load
from runtime.config.executors import load_registry

REDIS = EmbeddedRedis(7000, "word")
OTHER = "redis://elsewhere"


def brokers(executors: str, home: Path) -> dict[str, str | None]:
    """By executor, with that Redis for the first Celery executor."""
    (home / "hybrid.cfg").write_text(
        f"[core]\nexecutor = {executors}\n[celery]\nbroker_url = {OTHER}\n[celery:far-east]\nbroker_url = {OTHER}/9\n"
    )
    settings = load()
    changed = with_broker(settings, celery_executor(load_registry(settings)), REDIS)
    return {entry.name.name: entry.options.get("broker_url") for entry in load_registry(changed)}


@pytest.mark.parametrize("configured", ["CeleryExecutor", "west:CeleryExecutor", "far-east:CeleryExecutor"])
def test_embedded_redis_serves_the_executor_whatever_it_was_configured_for(configured: str, home: Path) -> None:
    assert brokers(configured, home) == {configured.partition(":")[0]: REDIS.url}


def test_a_second_instance_keeps_its_own_broker(home: Path) -> None:
    assert brokers("far-east:CeleryExecutor, west:CeleryExecutor", home) == {"far-east": REDIS.url, "west": OTHER}
