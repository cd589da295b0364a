"""``hybrid executors check`` in a whole deployment: a worker that runs with other settings than the scheduler."""

from __future__ import annotations

import socket

import pytest
from deployment import Deployment

from executors.celery.app import make_app
from executors.celery.asking import ask
from executors.celery.messages import DECLARE
from tests.redis_server import RedisServer

GPU = """
from runtime import DAG, task

with DAG("gpu"):
    @task(executor="CeleryExecutor", queue="gpu")
    def wants():
        pass
    wants()
"""
BROKER_WORD, OUR_LOG_KEY, ITS_LOG_KEY = "broker-word", "ours" * 10, "its-own-" * 5
DRIFT = {
    "HYBRID__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
    "HYBRID__LOGGING__WORKER_LOG_SERVER_SECRET": ITS_LOG_KEY,
    "HYBRID__CORE__DAGS_FOLDER": "$HYBRID_HOME/tmp",
}


def test_what_a_worker_does_otherwise_is_told(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, with both values, and no secret, neither in what the worker answers to anybody on its broker."""
    with RedisServer(BROKER_WORD) as redis:
        deployment._before.add(redis.pid)
        deployment.configure(
            {
                "core": {"executor": "LocalExecutor, CeleryExecutor"},
                "celery": {"broker_url": redis.url},
                "api": {"port": str(_free_port())},
                "logging": {"worker_log_server_port": "0", "worker_log_server_secret": OUR_LOG_KEY},
            }
        )
        (deployment.home / "hybrid.cfg").chmod(0o600)
        deployment.write_dag("gpu", GPU)
        deployment.standalone()
        with monkeypatch.context() as patched:
            patched.setattr(Deployment, "environment", {**deployment.environment, **DRIFT})
            worker = deployment.start("celery", "worker", "-c", "1", "-n", "w@test", "--skip-serve-logs")
        deployment.wait_for_words(worker, " ready.")
        deployment.wait_for_dag("gpu")

        rows = {row["name"]: row for row in deployment.json("executors", "check", code=1)}
        assert rows["LocalExecutor"]["findings"] == []
        (queue,) = rows["CeleryExecutor"]["findings"]
        assert (queue["severity"], queue["about"]) == ("warning", "workers")
        assert "no worker reads queue gpu, where task gpu.wants goes" in queue["text"]
        told = rows["(deployment)"]["findings"]
        assert [(each["severity"], each["text"].split(" is ")[0]) for each in told[:2]] == [
            ("error", "log key"),
            ("error", "[scheduler] task_instance_heartbeat_timeout"),
        ]
        assert " 60 in scheduler " in told[1]["text"]
        assert "; 90 in worker w@test. " in told[1]["text"]
        assert "worker w@test does not have the DAG processor's version of gpu.py;" in told[2]["text"]
        assert len(told) == 3
        _answers_nothing_else(redis, [str(rows), deployment.hybrid("executors", "check", code=1).out])


def _answers_nothing_else(redis: RedisServer, shown: list[str]) -> None:
    app = make_app({"broker_url": redis.url}, "")
    rubbish = {"declared": {"x": "y"}, "path": "/etc/passwd"}
    (answer,) = ask(app, DECLARE, 5.0, ["w@test"], rubbish)
    app.close()
    assert set(answer["w@test"]) == {"declared", "now"}
    assert answer["w@test"]["declared"]["[operators] default_queue"] == "default"
    for text in (*shown, str(answer)):
        assert not any(secret in text for secret in (BROKER_WORD, OUR_LOG_KEY, ITS_LOG_KEY, "gpu.py'", "passwd"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
