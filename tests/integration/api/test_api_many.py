"""Many at once, and a database that is not to be had."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from calling import Answer, Caller
from sqlalchemy.engine import make_url

from runtime.api import batching
from runtime.api.embedded import serve
from runtime.core import messages as m
from runtime.db.engine import Database
from tests.database.builders import World, start, task


def at_once(calls: list[Callable[[], Answer]]) -> list[Answer]:
    """All of them begun before the first has ended, as far as threads can tell."""
    barrier = threading.Barrier(len(calls))

    def call(one: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_of_a_hundred_starts_at_once_one_is_granted(api: Caller, world, queued: str):
    answers = at_once([lambda n=n: api.ask(start(queued, f"n{n}")) for n in range(100)])
    assert Counter(answer.status for answer in answers) == {200: 1, 409: 99}
    (granted,) = [answer for answer in answers if answer.status == 200]
    assert granted.token
    assert [answer.token for answer in answers if answer is not granted] == [None] * 99
    assert world.attempt(queued).state == "running"


def test_everybody_gets_the_answer_to_their_own_request(api: Caller, world):
    run = world.begin(*(task(f"t{n}") for n in range(40)))
    queued = {instance.node.spec.task_id: world.queue(instance) for instance in run.instances.values()}
    answers = at_once([lambda a=attempt: api.ask(start(a)) for attempt in queued.values()])
    assert [answer.reply.context.task_id for answer in answers] == list(queued)


def test_one_bad_request_among_many_spoils_none(api: Caller, world):
    """A number that no column holds makes the database refuse the whole transaction; the others are repeated."""
    run = world.begin(*(task(f"t{n}") for n in range(20)))
    attempts = [world.queue(instance) for instance in run.instances.values()]
    bad = {3, 11}
    calls = [lambda n=n, a=a: api.ask(start(a, pid=2**63 if n in bad else 1)) for n, a in enumerate(attempts)]
    assert [answer.status for answer in at_once(calls)] == [500 if n in bad else 200 for n in range(20)]


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Somebody else writes to the SQLite file, and does not come to an end."""
    other = Database(database.engine.url.render_as_string(hide_password=False))
    try:
        with other.write():
            yield
    finally:
        other.close()


@contextmanager
def away(request: pytest.FixtureRequest, database: Database) -> Iterator[None]:
    """The PostgreSQL server has cut the connections and lets nobody in."""
    server, url = request.getfixturevalue("postgres"), database.engine.url.render_as_string(hide_password=False)
    name = make_url(url).database
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        server.disconnect(url)
        yield
    finally:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@pytest.fixture
def outage(request, database) -> Callable[[], object]:
    """A context in which the database is not to be had."""
    return lambda: locked(database) if database.is_sqlite else away(request, database)


@pytest.fixture
def impatient(options, database, tokens) -> Iterator[Caller]:
    """A server that does not wait long for its database."""
    url = database.engine.url.render_as_string(hide_password=False)
    own = Database(url, busy_timeout=0.05)
    with serve(options, own, tokens) as served:
        yield Caller(served, tokens)
    own.close()


def test_without_the_database_everybody_is_told_to_come_again_and_then_it_works(impatient, world, queued, outage):
    with outage():
        answers = [impatient.ask(start(queued)) for _ in range(3)]
    assert [answer.status for answer in answers] == [503] * 3
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert {answer.json["detail"] for answer in answers} == {"the metadata database is not to be had"}
    assert world.attempt(queued).state == "queued"
    assert impatient.ask(start(queued)).status == 200


def test_what_comes_beyond_the_queue_is_told_to_come_again(api: Caller, world, running, monkeypatch, wait_until):
    """While one batch is in the database, as many as the queue holds wait, and no more."""
    monkeypatch.setattr(batching, "MOST_WAITING", 2)
    monkeypatch.setattr(batching, "LARGEST_BATCH", 1)
    beat = m.Heartbeat(running, "n1")
    with ThreadPoolExecutor(12) as pool, held(world.database):
        calls = [pool.submit(api.ask, beat) for _ in range(12)]
        wait_until(lambda: sum(call.done() for call in calls) == 9)
        refused = [call.result() for call in calls if call.done()]
        assert {answer.status for answer in refused} == {503}
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert Counter(call.result().status for call in calls) == {503: 9, 200: 3}


@contextmanager
def held(database: Database) -> Iterator[None]:
    """No batch gets through: this process writes."""
    world = World(database, registered=False)
    with database.write() as connection:
        if not world.database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE task_attempt IN ACCESS EXCLUSIVE MODE")
        yield
