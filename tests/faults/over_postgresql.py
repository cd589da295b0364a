"""Several schedulers of one home on PostgreSQL, on one host or on several, with a proxy in any of their links.

``here`` and ``there`` are two hosts: processes of ``there`` have a host name of their own, so that nothing but their
leases and heartbeats says that they live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from checker import Story, check
from deployment import HYBRID, Daemon, wait_until
from faulty import FAST, HERE, waiting_text
from over_http import HttpDeployment
from proxy import FaultProxy

FASTER: dict[str, dict[str, str]] = {
    "database": {"answer_timeout": "1", "idle_transaction_timeout": "1"},
    "scheduler": FAST["scheduler"] | {"lease_seconds": "2"},
    "core": {"executor": "LocalExecutor, remote:adopting.Adopting, other:adopting.Adopting"},
}
"""A fifth of what is shipped, and less: a lease that two busy cores can keep."""
THERE = "there"


class SeveralSchedulers(HttpDeployment):
    """``LocalExecutor`` is the default; ``remote`` and ``other`` are two instances of one class, as on other hosts."""

    url: str

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """See :meth:`Deployment.configure`; ``FASTER`` is overlaid with ``options``."""
        merged = {section: {**values, **options.get(section, {})} for section, values in FASTER.items()}
        merged["popen"] = {"list": str(self.home / "launches"), **options.get("popen", {})}
        super().configure({**options, **merged})

    def waiting_on(self, executor: str, name: str = "waiting", dag_id: str = "waiting") -> None:
        """Add a DAG like ``waiting`` on that executor."""
        text = waiting_text(0).replace('DAG("waiting")', f'DAG("{dag_id}", executor="{executor}")')
        self.write_dag(dag_id, text.replace('witnessed(f"waiting.', f'witnessed(f"{name}.'))
        self.wait_for_dag(dag_id)

    # -- processes -------------------------------------------------------------------------------------------------

    def one_more(self, word: str, *, host: str = "", database: FaultProxy | None = None) -> Daemon:
        """Start ``hybrid WORD`` and return at once.

        :param host: the name of the host that it believes to be on; default this one.
        :param database: what it reaches the metadata DB through.
        """
        log = self.home / f"{word}-{len(self.daemons)}.log"
        environment = dict(self.environment)
        if database is not None:
            environment["HYBRID__DATABASE__SQL_ALCHEMY_CONN"] = self.url_through(database)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*(_on_host(host) if host else ()), *HYBRID, word],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.home,
                start_new_session=True,
            )
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    def scheduler(self, *, host: str = "", database: FaultProxy | None = None) -> Daemon:
        """Start ``hybrid scheduler`` and wait until it has begun; see :meth:`one_more`."""
        daemon = self.one_more("scheduler", host=host, database=database)
        self.wait_for_words(daemon, "has begun")
        return daemon

    def proxy_to_database(self) -> FaultProxy:
        """To the server's Unix socket; the caller's to close."""
        return FaultProxy(f"{self._server_folder()}/.s.PGSQL.5432")

    def url_through(self, proxy: FaultProxy) -> str:
        """Of the metadata DB."""
        host, port = proxy.address
        return self.url.replace("@/", f"@{host}:{port}/").partition("?")[0]

    def _server_folder(self) -> str:
        return self.url.partition("host=")[2]

    # -- what is true now ------------------------------------------------------------------------------------------

    def id_of(self, scheduler: Daemon) -> str:
        """Its id in the DB."""
        (row,) = self.query("SELECT id FROM scheduler WHERE pid = ? ORDER BY started_at DESC LIMIT 1", scheduler.pid)
        return str(row["id"])

    def is_buried(self, scheduler: Daemon) -> bool:
        (row,) = self.query("SELECT ended_at FROM scheduler WHERE id = ?", self.id_of(scheduler))
        return row["ended_at"] is not None

    def owner(self, run_id: str) -> str | None:
        """The id of the scheduler that decides for the run."""
        (row,) = self.query("SELECT lease_owner FROM dag_run WHERE run_id = ?", run_id)
        return row["lease_owner"]

    def wait_for_owner(self, run_id: str, scheduler: Daemon, seconds: float = 30.0) -> None:
        wait_until(lambda: self.owner(run_id) == self.id_of(scheduler), f"{run_id} to have its new owner", seconds)

    def events_of(self, scheduler: Daemon) -> list[dict[str, Any]]:
        """Every change of a state that it has made."""
        return self.query("SELECT * FROM event WHERE actor = ? ORDER BY id", f"scheduler {self.id_of(scheduler)}")

    def launches(self) -> list[tuple[str, str, str]]:
        """What the executors noted: launched or adopted, the executor's name, the attempt's id."""
        path = self.home / "launches"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, name, identifier) for word, name, identifier in map(str.split, lines)]

    def lock_pools(self) -> psycopg.Connection:
        """A transaction of ours that holds what every dispatching step wants; the caller's to end."""
        connection = psycopg.connect(self.url.replace("postgresql+psycopg", "postgresql"))
        connection.execute("SELECT * FROM pool ORDER BY name FOR UPDATE")
        return connection

    def is_waiting_for_a_lock(self) -> bool:
        """Whether a transaction of a scheduler does."""
        return self._in_database("wait_event_type = 'Lock'")

    def is_idle_in_transaction(self) -> bool:
        """Whether a scheduler is at work in one, or frozen."""
        return self._in_database("state = 'idle in transaction'")

    def _in_database(self, state: str) -> bool:
        return bool(
            self.query(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                f" AND application_name = 'hybrid scheduler' AND {state}"
            )
        )

    # -- afterwards ------------------------------------------------------------------------------------------------

    def settled(self, *schedulers: Daemon, quiet: bool = True) -> Story:
        """As :meth:`FaultyDeployment.settle`, of all schedulers that live."""
        wait_until(lambda: not self.query("SELECT 1 FROM run_inbox"), "an empty inbox")
        wait_until(lambda: not self._held(), "free slots", story=self._held)
        for scheduler in schedulers:
            assert scheduler.stop() == 0, scheduler.text
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.stop()
            assert not quiet or "Traceback" not in daemon.text, daemon.text
        assert self.strays() == []
        return check(self.home, stopped=True, url=self.url)

    def _held(self) -> list[dict[str, Any]]:
        return self.query(
            "SELECT s.* FROM executor_status s JOIN scheduler c ON c.id = s.scheduler_id"
            " WHERE c.ended_at IS NULL AND (s.queued > 0 OR s.running > 0)"
        )


def begin_several(home: Path, url: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> SeveralSchedulers:
    """A home with a running DAG processor, on the migrated database of that URL."""
    made = SeveralSchedulers(home, url)
    made.configure(options or {})
    shutil.copy(HERE / "journal.py", made.dags)
    (home / "witness").mkdir()
    made.start("dag-processor")
    return made


def _on_host(name: str) -> tuple[str, ...]:
    """The words before a command that is to find itself on a host of that name."""
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *rights, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)
