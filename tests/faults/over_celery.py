"""A deployment with a Redis of its own and Celery workers, all of which are going to be hurt."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from deployment import Daemon, wait_until
from faulty import FAST, HERE, FaultyDeployment

from tests.redis_server import RedisServer

SLOTS = {"CeleryExecutor": 4, "heavy": 2}
OPTIONS = {
    **FAST,
    "core": {"executor": "CeleryExecutor, heavy:LocalExecutor"},
    "celery": {"parallelism": "4", "worker_concurrency": "2", "stuck_after": "1", "result_interval": "0.5"},
    "local_executor:heavy": {"parallelism": "2"},
    "workers": {"execution_api_timeout": "2", "start_patience": "5"},
}
"""A broker that forgot is noticed soon; the rest as in the other fault tests."""


class CeleryDeployment(FaultyDeployment):
    """``CeleryExecutor`` is the default executor, ``heavy`` a local one."""

    port: int
    redis: RedisServer

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """See :meth:`Deployment.configure`; ``options`` overlay ``OPTIONS``, section by section."""
        if not hasattr(self, "port"):
            self.port = _free_port()
            self.redis = RedisServer("broker-word")
            self.redis.start()
        merged = {section: dict(values) for section, values in OPTIONS.items()}
        merged["api"] = {"port": str(self.port)}
        merged["celery"]["broker_url"] = self.redis.url
        for section, values in options.items():
            merged[section] = {**merged.get(section, {}), **values}
        super().configure(merged)

    def close(self) -> None:
        """See :meth:`Deployment.close`; Redis goes last."""
        if self.redis.running_pid:
            self.redis.thaw()
        try:
            super().close()
        finally:
            self.redis.close()

    def processes(self) -> list[psutil.Process]:
        """See :meth:`Deployment.processes`; Redis is none of them."""
        own = self.redis.running_pid
        return [process for process in super().processes() if process.pid != own]

    def api(self) -> Daemon:
        """Start ``hybrid api-server`` and wait until it listens."""
        daemon = self.start("api-server")
        self.wait_for_words(daemon, "listens on")
        return daemon

    def worker(self, *words: str) -> Daemon:
        """Start ``hybrid celery worker`` under a name of its own, and wait until it takes messages."""
        daemon = self.start("celery", "worker", "-n", f"w{len(self.daemons)}@test", *words)
        self.wait_for_words(daemon, " ready.")
        return daemon

    def begin_all(self) -> tuple[Daemon, Daemon]:
        """API server, scheduler and a worker; the latter two."""
        self.api()
        scheduler = self.scheduler()
        return scheduler, self.worker()

    def children_of(self, worker: Daemon) -> list[psutil.Process]:
        """The processes of the worker's pool."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(worker.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if "celery-child" in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def child_of_attempt(self, attempt: Mapping[str, Any]) -> psutil.Process:
        """The process of the pool that hands a running attempt to its supervisor."""
        found = self.worker_of(attempt).parent()
        assert found is not None
        return found

    def freeze(self, worker: Daemon) -> list[psutil.Process]:
        """SIGSTOP the worker, its pool and what runs there; what was frozen."""
        frozen = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        for process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return frozen

    def messages(self, queue: str = "default") -> list[str]:
        """What waits in the broker, as it is there."""
        return list(self.redis.call("LRANGE", queue, 0, -1))

    def wait_for_overdue(self, seconds: float) -> None:
        """Until the oldest message that a worker holds is older than ``seconds``: workers look for such ones when they
        begin, and then (kombu's ``restore_visible``) only every hundredth second.
        """

        def is_overdue() -> bool:
            held = self.redis.call("ZRANGE", "unacked_index", 0, 0, "WITHSCORES")
            return any(float(since) + seconds < time.time() for _, since in held)

        wait_until(is_overdue, "a message to become overdue")

    def wait_for_attempt(self, run_id: str, count: int = 1, task_id: str = "waits") -> dict[str, Any]:
        """The ``count``-th attempt of a task, once it is committed."""
        wait_until(lambda: len(self.attempts(run_id, task_id)) >= count, f"attempt {count} of {task_id}")
        return self.attempts(run_id, task_id)[count - 1]


def begin_celery(home: Path) -> CeleryDeployment:
    """A migrated home with a running DAG processor and Redis; no worker, scheduler or API server yet."""
    made = CeleryDeployment(home)
    shutil.copy(HERE / "journal.py", made.dags)
    (home / "witness").mkdir()
    made.hybrid("db", "migrate")
    made.start("dag-processor")
    return made


def thaw(frozen: list[psutil.Process]) -> None:
    """SIGCONT, children first: a supervisor must find its attempt awake."""
    for process in reversed(frozen):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
