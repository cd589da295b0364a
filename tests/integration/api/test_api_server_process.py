"""``hybrid api-server`` as a process: how it begins, what it refuses, how it stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from calling import Caller, status_of

from runtime.api.listening import listen
from runtime.core import messages as m
from runtime.core.task_api import PREFIX
from runtime.db.components import API_SERVER, BEAT_SECONDS
from runtime.db.engine import Database
from runtime.db.schema import component
from runtime.tokens.keys import load_tokens
from tests.database.builders import World, start, task

DEADLINE = 30.0


class ApiServer:
    """The command, and what it has printed into a file."""

    def __init__(self, log: Path, env: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtime.cli.main", "api-server"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HYBRID__API__PORT": "0", **env},
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def url(self, wait_until: Callable[[Callable[[], object]], None]) -> str:
        """Once it listens."""
        wait_until(lambda: PREFIX in self.text or self.process.poll() is not None)
        found = re.search(rf"http://\S+{PREFIX}", self.text)
        assert found, self.text
        return found[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@pytest.fixture
def run(tmp_path, settings) -> Iterator[Callable[..., ApiServer]]:
    """Start the command in the home of ``settings``; none outlives the test."""
    servers: list[ApiServer] = []

    def start_one(**env: str) -> ApiServer:
        servers.append(ApiServer(tmp_path / f"server-{len(servers)}.log", env))
        return servers[-1]

    yield start_one
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def world(settings) -> Iterator[World]:
    database = Database(settings.database.sql_alchemy_conn)
    yield World(database)
    database.close()


@pytest.fixture
def server(run) -> ApiServer:
    return run()


@pytest.fixture
def caller(server, settings, wait_until) -> Caller:
    """With the key that the server made, or that we made for it."""
    return Caller(server.url(wait_until), load_tokens(settings))


@pytest.fixture
def attempt(world) -> str:
    """One that may start."""
    return world.queue(next(iter(world.begin(task("t")).instances.values())))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_0_and_its_row_says_so(server, caller, world, number):
    assert caller.get("/api/v2/version").status == 200
    (row,) = world.rows(component)
    assert (row.kind, row.pid, row.ended_at) == (API_SERVER, server.process.pid, None)
    assert server.stop(number) == 0
    (row,) = world.rows(component)
    assert row.ended_at is not None
    assert "Traceback" not in server.text


def test_it_says_every_few_seconds_that_it_lives(caller, world, wait_until):
    (row,) = world.rows(component)
    wait_until(lambda: world.row(component).heartbeat_at > row.heartbeat_at)


def test_its_heartbeats_stop_when_its_database_thread_is_stuck(caller, world, attempt, settings, wait_until):
    """Somebody holds the only writer's place: no answer, and no sign of life that would hide that."""
    with closing(sqlite3.connect(settings.home / "hybrid.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        (row,) = world.rows(component)
        with caller.open() as waiting:
            body = m.encode(start(attempt))
            waiting.sendall(caller.raw_head(start(attempt), f"Content-Length: {len(body)}") + body)
            assert caller.get("/api/v2/monitor/health").status == 200
            missed = time.monotonic() + 1.5 * BEAT_SECONDS
            wait_until(lambda: time.monotonic() > missed)
            assert world.row(component).heartbeat_at == row.heartbeat_at
            other.execute("COMMIT")
            assert status_of(waiting) == 200


def test_requests_in_flight_are_answered_before_it_ends(server, caller, world, attempt, settings, wait_until):
    """Its database is busy when the signal comes, and free soon after."""
    body = m.encode(start(attempt))
    with closing(sqlite3.connect(settings.home / "hybrid.db", isolation_level=None)) as other, caller.open() as flying:
        other.execute("BEGIN IMMEDIATE")
        flying.sendall(caller.raw_head(start(attempt), f"Content-Length: {len(body)}") + body)
        assert caller.get("/api/v2/version").status == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(caller))
        other.execute("COMMIT")
        assert status_of(flying) == 200
    assert server.process.wait(DEADLINE) == 0
    assert world.attempt(attempt).state == "running"


def test_a_second_signal_ends_it_at_once(server, caller, attempt, settings, wait_until):
    """Although its database does not answer; with grace it would end with 0."""
    body = m.encode(start(attempt))
    with closing(sqlite3.connect(settings.home / "hybrid.db", isolation_level=None)) as other, caller.open() as flying:
        other.execute("BEGIN IMMEDIATE")
        flying.sendall(caller.raw_head(start(attempt), f"Content-Length: {len(body)}") + body)
        assert caller.get("/api/v2/version").status == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(caller))
        assert server.stop() == 1


def listens(caller: Caller) -> bool:
    try:
        caller.open().close()
    except ConnectionRefusedError:
        return False
    return True


def test_answers_leave_at_once():
    """With Nagle's algorithm the second half of each answer would wait 40 ms for the client's ACK of the first.

    asyncio turns it off only for sockets that name their protocol, which those of a listener inherit.
    """
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted, client:
            assert accepted.proto == socket.IPPROTO_TCP


def test_a_client_whose_host_is_gone_is_not_kept_for_ever():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted, client:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_a_port_that_is_taken_is_one_line(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = run(HYBRID__API__PORT=str(port))
        assert server.process.wait(DEADLINE) == 1
    assert server.text == (
        f"hybrid: port {port} of 127.0.0.1 is taken by another process; end that one, or set another [api] port\n"
    )


@pytest.mark.parametrize("host", ["300.1.1.1", "no-such-host.invalid", "192.0.2.1", "a..b", "x" * 70])
def test_a_host_that_is_not_here_is_one_line(run, host):
    server = run(HYBRID__API__HOST=host)
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.text.splitlines()
    assert line.startswith(f"hybrid: [api] host = {host}")


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::1"])
def test_other_addresses_can_be_listened_on(run, host, wait_until, settings):
    if host == "::1" and not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this host has no IPv6")
    server = run(HYBRID__API__HOST=host)
    url = server.url(wait_until)
    assert Caller(url, load_tokens(settings)).get("/api/v2/version").status == 200


def test_without_a_database_it_says_what_to_do(run, settings):
    (settings.home / "hybrid.db").unlink()
    server = run()
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.text.splitlines()
    assert "hybrid db migrate" in line


def test_with_a_key_that_is_too_short_it_does_not_begin_and_does_not_show_it(run):
    server = run(HYBRID__API_AUTH__JWT_SECRET="tooshort")
    assert server.process.wait(DEADLINE) == 1
    (line,) = server.text.splitlines()
    assert "[api_auth] jwt_secret" in line
    assert "tooshort" not in line


def test_no_token_is_in_its_log_however_much_it_logs(run, settings, attempt, wait_until):
    server = run(HYBRID__LOGGING__LOGGING_LEVEL="DEBUG")
    caller = Caller(server.url(wait_until), load_tokens(settings))
    ticket = caller.token_for(start(attempt))
    answer = caller.ask(start(attempt), ticket)
    beat = caller.ask(m.Heartbeat(attempt, "n1"), answer.token)
    caller.ask(m.Heartbeat(attempt, "n1"), ticket)
    caller.post(f"/attempts/{attempt}/start", b"bad", ticket)
    caller.get(f"{PREFIX}/attempts/{ticket}/start", "POST")
    assert server.stop() == 0
    assert f"start of '{attempt}': 200" in server.text
    for token in (ticket, answer.token, beat.token, load_tokens(settings)._key.decode()):
        assert token not in server.text
        assert token.rpartition(".")[2] not in server.text
