"""Hints reach whoever waits for them, on each kind of database, and their loss is nothing but a wait for the timer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.config import Settings, load
from runtime.db.engine import Database
from runtime.db.hints import Hints, Listener, open_hints, send_hint
from runtime.scheduler.waking import Waker
from tests.postgres import Postgres
from tests.postgres_server import Server

DEADLINE = 20.0


@pytest.fixture
def hints(home: Path, database: Database) -> Iterator[Hints]:
    opened = open_hints(load(), database, "me")
    yield opened
    opened.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_hint_ends_the_wait(home: Path, database: Database, hints: Hints) -> None:
    waker = Waker(hints)
    assert not waker.wait(0)
    send_hint(database, home)
    assert waker.wait(DEADLINE)
    assert not waker.wait(0), "it counts once"
    waker()
    assert not waker.wait(DEADLINE), "woken, but by no hint"
    waker.close()


def test_many_hints_are_one(home: Path, database: Database, hints: Hints) -> None:
    for _ in range(30):
        send_hint(database, home)
    waker = Waker(hints)
    assert waker.wait(DEADLINE)
    assert not waker.wait(0)
    waker.close()


def test_a_hint_without_a_listener_is_no_error(home: Path, database: Database) -> None:
    send_hint(database, home)


def test_each_scheduler_hears_it(home: Path, database: Database, hints: Hints) -> None:
    other = open_hints(load(), database, "other")
    send_hint(database, home)
    for one in (hints, other):
        waker = Waker(one)
        assert waker.wait(DEADLINE)
        waker.close()


def test_a_sender_from_another_process_is_heard_on_postgresql(home: Path, postgres: Postgres) -> None:
    """Only the database connects the two: no home, no host."""
    url = postgres.create()
    one, two = Database(url), Database(url)
    waker = Waker(Listener(one))
    send_hint(two, home / "another")
    assert waker.wait(DEADLINE)
    waker.close()
    one.close()
    two.close()
    postgres.drop(url)


def test_listening_goes_on_after_the_connection_broke(home: Path, postgres: Postgres) -> None:
    url = postgres.create()
    database = Database(url)
    listener = Listener(database)
    assert postgres.disconnect(url) > 0
    wait_for(lambda: not listener.drain() and listener.fileno() == -1)
    wait_for(lambda: listener.fileno() >= 0)
    send_hint(database, home)
    waker = Waker(listener)
    assert waker.wait(DEADLINE)
    waker.close()
    database.close()
    postgres.drop(url)


def test_a_server_that_is_away_neither_blocks_nor_raises(home: Path) -> None:
    """And when it is back, so are the hints."""
    server = Server()
    try:
        server.start()
        database = Database(f"postgresql+psycopg://postgres@/postgres?host={server.folder}")
        listener = Listener(database)
        server.stop()
        waker = Waker(listener)
        assert not waker.wait(DEADLINE), "its end wakes"
        for _ in range(3):
            assert not waker.wait(0)
            send_hint(database, home)
        server.start()
        wait_for(lambda: listener.fileno() >= 0)
        send_hint(database, home)
        assert waker.wait(DEADLINE)
        waker.close()
        database.close()
    finally:
        server.close()


def test_one_that_is_closed_while_it_connects_leaves_nothing(postgres: Postgres) -> None:
    url = postgres.create()
    database = Database(url)
    listener = Listener(database)
    postgres.disconnect(url)
    wait_for(lambda: not listener.drain() and listener.fileno() == -1)
    listener._next_try = 0.0
    listener.fileno()
    listener.close()
    wait_for(lambda: all(thread.name != "hints-connector" for thread in threading.enumerate()))
    database.close()
    assert postgres.disconnect(url) == 0
    postgres.drop(url)


def test_settings_are_asked_for_the_folder_only_by_sqlite(settings: Settings, postgres: Postgres) -> None:
    url = postgres.create()
    database = Database(url)
    listener = open_hints(settings, database, "me")
    assert isinstance(listener, Listener)
    assert not (settings.home / "run").exists()
    listener.close()
    database.close()
    postgres.drop(url)
