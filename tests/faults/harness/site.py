"""The deployment that is hurt: its servers, its daemons on hosts of their own, and a proxy in each link."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from deployment import HYBRID, Daemon, wait_until
from deployment import _be_subreaper as be_subreaper
from faulty import HERE, FaultyDeployment
from proxy import FaultProxy

from harness.manager import Manager
from harness.plan import API, LINKS, SCHEDULERS, WORKERS
from harness.servers import MortalPostgres
from harness.timers import fast_timers
from harness.work import POOL, POOL_SLOTS, SLOTS, dag_file
from tests.redis_server import RedisServer

OPTIONS: dict[str, dict[str, str]] = {
    "core": {
        "executor": "LocalExecutor, CeleryExecutor, remote:popen.Remote",
        "plugins_folder": str(HERE),
        "dags_are_paused_at_creation": "False",
    },
    "local_executor": {"parallelism": str(SLOTS["LocalExecutor"])},
    "celery": {"parallelism": str(SLOTS["CeleryExecutor"]), "worker_concurrency": "3"},
    "popen": {"parallelism": str(SLOTS["remote"])},
    "dag_processor": {"refresh_interval": "1"},
    "logging": {"worker_log_server_port": "0"},
}
_REAP_PAUSE = 1.0
"""Seconds: to look through all processes takes as long as a step of a scheduler."""
_READY = 60.0
"""Seconds for all daemons to be ready."""


class Site(FaultyDeployment):
    """Everything. For one thread, which outlives it: the servers end with the thread that started them.

    :param attempts: how many there are to be, which decides how many dates the schedule has.
    :param factor: by which timers are divided.
    :param hosts: whether each daemon believes to be on a host of its own, which takes the right to name hosts.
    """

    def __init__(self, home: Path, *, attempts: int, factor: float, infra_retries: int, hosts: bool) -> None:
        self._options = fast_timers(factor)
        self._options["scheduler"]["infra_retries"] = str(infra_retries)
        self._hosts = hosts
        self._attempts = attempts
        self._reaped = 0.0
        self.manager = Manager(self._start)
        self.proxies: dict[str, FaultProxy] = {}
        self.redis = RedisServer("broker-word")
        self.postgres = MortalPostgres()
        self.port = _free_port()
        super().__init__(home, f"postgresql+psycopg://postgres@/postgres?host={self.postgres.folder}")

    # -- beginning -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start all; return when it can run tasks."""
        self.postgres.start()
        self.redis.start()
        for link in LINKS:
            self.proxies[link] = FaultProxy(self._upstream(link.rpartition(" > ")[2]))
        self.configure({})
        shutil.copy(HERE / "journal.py", self.dags)
        (self.home / "witness").mkdir()
        self.hybrid("db", "migrate")
        self.query("INSERT INTO pool (name, slots, description) VALUES (?, ?, '')", POOL, POOL_SLOTS)
        self.write_dag("storm", dag_file(self._attempts))
        self._keep("dag-processor", "dag-processor")
        self._keep(API, "api-server", postgres=f"{API} > postgres")
        for name in SCHEDULERS:
            links = {"postgres": f"{name} > postgres", "redis": f"{name} > redis", "api": f"remote > {API}"}
            self._keep(name, "scheduler", **links)
        for name in WORKERS:
            links = {"redis": f"{name} > redis", "api": f"{name} > {API}"}
            self._keep(name, "celery", "worker", "-n", f"{name}@{name}", **links)
        self.wait_for_dag("past")
        wait_until(self._is_up, "all daemons to be ready", _READY)

    def configure(self, options: Any) -> None:
        """See :meth:`Deployment.configure`."""
        merged = {section: dict(values) for section, values in OPTIONS.items()}
        own = {"api": {"port": str(self.port)}, "celery": {"broker_url": self.redis.url}}
        for part in (self._options, own, options):
            for section, values in part.items():
                merged[section] = {**merged.get(section, {}), **values}
        super().configure(merged)

    def _upstream(self, server: str) -> tuple[str, int] | str:
        if server == "postgres":
            return str(self.postgres.socket)
        return ("127.0.0.1", self.redis.port if server == "redis" else self.port)

    def _keep(self, name: str, *words: str, postgres: str = "", redis: str = "", api: str = "") -> None:
        """Start a daemon and keep it running; the rest are its links."""
        environment = {}
        if postgres:
            url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port_of(postgres)}/postgres"
            environment["HYBRID__DATABASE__SQL_ALCHEMY_CONN"] = url
        if redis:
            url = self.redis.url.replace(f":{self.redis.port}/", f":{self._port_of(redis)}/")
            environment["HYBRID__CELERY__BROKER_URL"] = url
        if api:
            url = f"http://127.0.0.1:{self._port_of(api)}/execution/v1"
            environment["HYBRID__CORE__EXECUTION_API_SERVER_URL"] = url
        self.manager.add(name, words, environment)

    def _port_of(self, link: str) -> int:
        return self.proxies[link].address[1]

    def _is_up(self) -> bool:
        live = self.query("SELECT count(*) AS n FROM executor_status WHERE health = 'healthy'")[0]["n"]
        ready = all(" ready." in self.manager[name].daemon.text for name in WORKERS)
        return ready and live == len(SCHEDULERS) * len(SLOTS)

    def _start(self, name: str, words: tuple[str, ...], environment: dict[str, str]) -> Daemon:
        host = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name) if self._hosts else ()
        log = self.home / f"{name}-{len(self.daemons)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*host, *HYBRID, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment | environment,
                cwd=self.home,
                start_new_session=True,
            )
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    # -- meanwhile -------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Keep the daemons running; to be called often."""
        self.manager.tend()
        if time.monotonic() > self._reaped + _REAP_PAUSE:
            self._reaped = time.monotonic()
            self.reap()

    def has_overdue_messages(self) -> bool:
        """Whether workers have taken messages, and all so long ago that another worker may have them."""
        newest = self.redis.call("ZRANGE", "unacked_index", -1, -1, "WITHSCORES")
        patience = float(self._options["celery_broker_transport_options"]["visibility_timeout"])
        return any(float(since) + patience < time.time() for _, since in newest)

    def processes(self) -> list[psutil.Process]:
        """See :meth:`Deployment.processes`; the servers are none of them."""
        servers = {self.redis.running_pid, *self.postgres.processes()}
        return [process for process in super().processes() if process.pid not in servers]

    # -- the end ---------------------------------------------------------------------------------------------------

    def stop(self) -> list[str]:
        """End every daemon; what did not end, or is left."""
        return self.manager.end_all() or [f"process {line}" for line in self.strays()]

    def close(self) -> None:
        """End everything, however it is: nothing is left behind."""
        try:
            self._kill_all()
            be_subreaper(False)
        finally:
            for proxy in self.proxies.values():
                proxy.close()
            self.redis.close()
            self.postgres.close()


def may_name_hosts() -> bool:
    """Whether this process may give its children host names of their own."""
    words = ["unshare", "--uts", "sh", "-c", "hostname probe"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
