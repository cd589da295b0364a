"""Links to PostgreSQL and to the task API that are cut, half-open, one-way or slow, and well again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deployment import wait_until
from over_postgresql import THERE, SeveralSchedulers, begin_several
from proxy import FaultProxy
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from runtime.db.engine import Database
from runtime.db.hints import Listener, send_hint
from runtime.db.postgres import Patience
from runtime.db.schema import pool
from tests.postgres_server import Server

PATIENT = Patience(answer=0.4, idle_transaction=0.4)
FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "cut": FaultProxy.cut,
    "half-open": FaultProxy.half_open,
    "to the server only": lambda proxy: proxy.one_way("to_server"),
    "to the client only": lambda proxy: proxy.one_way("to_client"),
    "slow": lambda proxy: proxy.latency(0.2),
}
SILENT = [name for name in FAULTS if name not in {"cut", "slow"}]
"""Those that nobody is told of."""
SECONDS = 10.0


# -- one connection


@pytest.fixture
def url(new_url) -> str:
    return new_url("postgresql")


@pytest.fixture
def proxy(url) -> Iterator[FaultProxy]:
    with FaultProxy(f"{url.partition('host=')[2]}/.s.PGSQL.5432") as made:
        yield made


@pytest.fixture
def database(url, proxy) -> Iterator[Database]:
    """Through the proxy."""
    host, port = proxy.address
    opened = Database(url.replace("@/", f"@{host}:{port}/").partition("?")[0], patience=PATIENT)
    yield opened
    opened.close()


def in_time(work: Callable[[], Any]) -> Any:
    """What ``work`` returns or raises; fails the test where it is stuck."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(work())
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert came, "the thread is stuck"
    if isinstance(came[0], Exception):
        raise came[0]
    return came[0]


def slots(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(pool.c.slots)).scalar_one()


def add_one(database: Database, before_the_end: Callable[[], None] = lambda: None) -> None:
    with database.write() as connection:
        connection.execute(pool.update().values(slots=pool.c.slots + 1))
        before_the_end()


@pytest.mark.parametrize("fault", SILENT)
def test_a_silent_link_is_given_up_and_the_next_connection_is_a_new_one(database, proxy, fault):
    """TCP acknowledges every byte here, so no keepalive would ever notice."""
    assert slots(database) == 128
    FAULTS[fault](proxy)
    with pytest.raises(OperationalError, match=r"no word from the server for 0\.4 s") as caught:
        in_time(lambda: slots(database))
    assert caught.value.connection_invalidated
    proxy.heal()
    assert in_time(lambda: slots(database)) == 128


@pytest.mark.parametrize("fault", ["half-open", "to the server only"])
def test_a_commit_without_an_answer_is_done_or_not_before_the_next_one_sees_anything(database, url, proxy, fault):
    """Even one that arrives late: the row stays locked until the server has decided."""
    with pytest.raises(OperationalError, match="no word from the server"):
        in_time(lambda: add_one(database, before_the_end=lambda: FAULTS[fault](proxy)))
    direct = Database(url, patience=PATIENT)
    with closing(direct):
        add_one(direct)
        before = slots(direct)
        proxy.heal()
        assert before == in_time(lambda: slots(database)) == (130 if fault == "to the server only" else 129)


def test_a_session_that_is_silent_in_a_transaction_is_ended_by_the_server(database, url, proxy):
    """Whoever waits for its locks goes on; it finds out at its next word."""
    direct = Database(url)

    def meanwhile() -> None:
        proxy.half_open()
        add_one(direct)
        proxy.heal()

    with closing(direct), pytest.raises(OperationalError, match="idle-in-transaction timeout"):
        in_time(lambda: add_one(database, meanwhile))
    assert slots(database) == 129


def test_waiting_for_a_lock_ends_before_the_connection_is_given_up(database, url):
    """What is left of that would go on waiting in the server, and hold what it has locked."""
    direct = Database(url)
    with closing(direct), direct.write() as holder:
        holder.execute(pool.update().values(slots=7))
        with pytest.raises(OperationalError, match="lock timeout") as caught:
            in_time(lambda: add_one(database))
    assert not caught.value.connection_invalidated


def test_hints_come_again_after_a_cut(database, proxy, tmp_path):
    listener = Listener(database)
    with closing(listener):
        proxy.cut()
        wait_until(lambda: not listener.drain() and listener.fileno() == -1, "the listener to notice")
        proxy.heal()
        wait_until(lambda: listener.fileno() >= 0, "a new connection")
        send_hint(database, tmp_path)
        wait_until(listener.drain, "the hint")


def test_the_server_looks_after_clients_whose_host_is_gone():
    """Its own defaults would keep their sessions for two hours. A Unix socket has none of them, hence TCP."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with closing(Server({"listen_addresses": "127.0.0.1", "port": str(port)})) as server:
        server.start()
        database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres")
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        with closing(database), database.read() as connection:
            shown = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
    assert shown == ["30", "10", "3", "30000"]


# -- whole deployments

LINE = """
from runtime import DAG, task
from journal import busy, witnessed

with DAG("line", max_active_runs=20):
    last = 0
    for number in range(2):
        @task(task_id=f"step_{number}", executor=EXECUTOR)
        def step(value, run_id=None, ti=None):
            with witnessed(f"line.{ti.task_id}.{run_id}"):
                busy(0.2)
            return value + 1
        last = step(last)
"""
"""The second task takes the XCom of the first."""


@pytest.fixture
def several(tmp_path: Path, url: str) -> Iterator[SeveralSchedulers]:
    made = begin_several(tmp_path / "home", url)
    yield made
    made.close()


@pytest.fixture(
    params=[pytest.param(SILENT[:2], id="silent"), pytest.param(list(FAULTS), id="all", marks=pytest.mark.slow)]
)
def faults(request) -> list[str]:
    """Those that nobody is told of, and all of them."""
    return request.param


def suffer(several, proxy, faults: list[str], executor: str) -> None:
    """Let each fault strike a run in its middle, heal it, and expect the run to succeed."""
    several.write_dag("line", LINE.replace("EXECUTOR", repr(executor)))
    several.wait_for_dag("line")
    for fault in faults:
        run = several.trigger("line")
        wait_until(lambda: several.attempts(run, "step_0"), "its first attempt")  # noqa: B023  called at once
        FAULTS[fault](proxy)
        several.let_pass(1.5)
        proxy.heal()
        assert several.wait_for_run("line", run) == "success", several.states("line", run)
        assert several.xcom(run, "step_1") == 2


def expect_no_loss(several, scheduler) -> None:
    story = several.settled(scheduler)
    assert {attempt["state"] for attempt in story.attempts if attempt["started_at"]} == {"success"}


def test_link_of_a_scheduler(several, proxy, faults):
    """Nor does any executor of its take the blame."""
    scheduler = several.scheduler(database=proxy)
    suffer(several, proxy, ["cut", *faults], "LocalExecutor")
    expect_no_loss(several, scheduler)
    assert "the metadata DB is not to be had, again in 1 s: no word from the server for 1 s" in scheduler.text
    assert "executor LocalExecutor" not in scheduler.text


def test_link_of_the_api_server(several, proxy, faults):
    api = several.one_more("api-server", database=proxy)
    several.wait_for_words(api, "listens on")
    scheduler = several.scheduler()
    suffer(several, proxy, faults, "remote")
    expect_no_loss(several, scheduler)
    assert "the metadata DB is not to be had: no word from the server for 1 s" in api.text


def test_link_of_workers_to_the_api_server(several, faults):
    several.api()
    with FaultProxy(("127.0.0.1", several.port)) as proxy:
        several.configure({"core": {"execution_api_server_url": "http://{}:{}/execution/v1".format(*proxy.address)}})
        scheduler = several.scheduler()
        suffer(several, proxy, faults, "remote")
        expect_no_loss(several, scheduler)


def test_a_scheduler_that_is_cut_off_beyond_its_lease_changes_nothing_when_it_is_back(several, proxy):
    """Another host's: its runs go on elsewhere, and it stops as soon as it hears of that."""
    several.waiting_on("remote")
    several.api()
    away = several.scheduler(host=THERE, database=proxy)
    run, attempt = several.trigger_waiting()
    heir = several.scheduler()
    proxy.half_open()
    several.wait_for_owner(run, heir)
    events = several.events_of(away)
    proxy.heal()
    assert away.wait() == 1
    assert "its runs belong to others now" in away.text
    assert several.events_of(away) == events
    assert several.is_alive(attempt["pid"])
    several.open_gate()
    assert several.wait_for_run("waiting", run) == "success"
    assert [attempt["state"] for attempt in several.attempts(run, "waits")] == ["success"]
    several.settled(heir)
