"""What only PostgreSQL does: transactions side by side, servers that go away, errors that quote rows."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, select, text
from sqlalchemy.exc import OperationalError

from runtime.config import Settings
from runtime.core.errors import DatabaseError
from runtime.db import migrate as migrating
from runtime.db import postgres as connecting
from runtime.db.engine import Database, open_database
from runtime.db.postgres import ConflictError
from runtime.db.schema import REVISION, attempt_is_active, dag_run, pool, run_is_open, task_attempt
from runtime.db.transitions import GuardRefusedError
from runtime.scheduler import limits
from runtime.scheduler.loading import reload
from runtime.scheduler.memory import Memory
from runtime.scheduler.step import Step
from tests.database.builders import World, router, task
from tests.postgres import Postgres
from tests.postgres_server import Server


@pytest.fixture
def url(new_url: Callable[..., str]) -> str:
    return new_url("postgresql")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def empty(new_url: Callable[..., str], settings: Settings) -> Settings:
    """Of a database without tables."""
    return at(settings, new_url("postgresql", migrated=False))


def at(settings: Settings, url: str) -> Settings:
    return replace(settings, database=replace(settings.database, sql_alchemy_conn=url))


def slots(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(pool.c.slots)).scalar_one()


def set_slots(connection: Any, name: str, number: int) -> None:
    connection.execute(pool.update().where(pool.c.name == name).values(slots=number))


def add_pools(database: Database, *names: str) -> None:
    with database.write() as connection:
        connection.execute(pool.insert(), [{"name": name, "slots": 1, "description": ""} for name in names])


# -- connections


def test_connections_that_the_server_closed_are_replaced_before_use(
    url: str, database: Database, postgres: Postgres
) -> None:
    """Nobody notices a restart between two transactions."""
    slots(database)
    assert postgres.disconnect(url) == 1
    assert slots(database) == 128
    assert postgres.disconnect(url) == 1
    with database.write() as connection:
        set_slots(connection, "default_pool", 7)
    assert slots(database) == 7


def test_connection_lost_in_a_transaction(url: str, database: Database, postgres: Postgres) -> None:
    """It says so, changes nothing, and the next one works."""

    def lose(connection: Any) -> None:
        set_slots(connection, "default_pool", 7)
        postgres.disconnect(url)
        set_slots(connection, "default_pool", 8)

    with pytest.raises(OperationalError) as caught, database.write() as connection:
        lose(connection)
    assert "\n" not in str(caught.value.orig)
    assert slots(database) == 128


def test_server_that_is_restarted() -> None:
    server = Server()
    try:
        server.start()
        database = Database(f"postgresql+psycopg://postgres@/postgres?host={server.folder}")
        migrating.upgrade(database)
        server.stop()
        for use in (database.read, database.write):
            with pytest.raises(OperationalError), use():
                pass
        server.start()
        assert slots(database) == 128
        database.close()
    finally:
        server.close()


def test_each_of_many_threads_gets_its_turn(database: Database) -> None:
    """More than the pool has connections."""
    numbers = range(40)

    def count() -> None:
        with database.write() as connection:
            connection.execute(pool.update().values(slots=pool.c.slots + 1))

    threads = [threading.Thread(target=count) for _ in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert slots(database) == 128 + len(numbers)


def test_waiting_in_vain_for_a_connection_is_a_database_that_is_not_to_be_had(database: Database) -> None:
    database.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    taken = [database.engine.connect() for _ in range(15)]
    with pytest.raises(OperationalError, match="QueuePool limit"), database.write():
        pass
    for connection in taken:
        connection.close()
    assert slots(database) == 128


def test_server_shows_whose_connections_they_are(url: str, settings: Settings) -> None:
    database = open_database(at(settings, url), "hybrid scheduler")
    with database.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "hybrid scheduler"
    database.close()
    other = Database(f"{url}&application_name=mine&connect_timeout=3")
    with other.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "mine", "the URL's word counts"
    other.close()


# -- transactions


def test_a_read_is_one_snapshot(database: Database) -> None:
    with database.read() as connection:
        before = connection.execute(select(pool.c.slots)).scalar()
        with database.write() as other:
            set_slots(other, "default_pool", 7)
        assert connection.execute(select(pool.c.slots)).scalar() == before


def in_opposite_order(database: Database, run: Callable[[Callable[[Any], None]], None]) -> list[BaseException]:
    """Two transactions that lock the same two rows crosswise; what they raised."""
    add_pools(database, "a", "b")
    both = threading.Barrier(2)
    errors: list[BaseException] = []

    def cross(first: str, second: str) -> None:
        meetings = iter([both.wait])

        def work(connection: Any) -> None:
            set_slots(connection, first, 2)
            for meet in meetings:
                meet(30)
            set_slots(connection, second, 2)

        try:
            run(work)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=cross, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_deadlock_undoes_one_and_says_that_it_may_be_repeated(database: Database) -> None:
    def run(work: Callable[[Any], None]) -> None:
        with database.write() as connection:
            work(connection)

    (error,) = in_opposite_order(database, run)
    assert isinstance(error, ConflictError)
    assert isinstance(error, OperationalError)
    assert "deadlock detected" in str(error)


def test_deadlock_is_repeated_by_transact(database: Database) -> None:
    assert in_opposite_order(database, database.transact) == []


def test_frozen_transaction_lets_go_of_its_locks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a scheduler that was stopped in the middle of a step; it finds out when it goes on."""
    monkeypatch.setattr(connecting, "_SESSION", "SET idle_in_transaction_session_timeout = '200ms'")
    database = Database(url)

    def freeze(frozen: Any) -> None:
        set_slots(frozen, "default_pool", 7)
        with database.write() as other:
            set_slots(other, "default_pool", 8)
        set_slots(frozen, "default_pool", 9)

    with pytest.raises(OperationalError), database.write() as connection:
        freeze(connection)
    assert slots(database) == 8
    database.close()


def test_waiting_too_long_for_a_lock_is_no_conflict(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying at once again would wait as long."""
    monkeypatch.setattr(connecting, "_SESSION", "SET lock_timeout = '50ms'")
    database = Database(url)
    with database.write() as holder:
        set_slots(holder, "default_pool", 7)
        with pytest.raises(OperationalError, match="lock timeout") as caught, database.write() as other:
            set_slots(other, "default_pool", 8)
    assert not isinstance(caught.value, ConflictError)
    assert slots(database) == 7
    database.close()


def test_session_defaults_protect_others(database: Database) -> None:
    with database.read() as connection:
        names = ("lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")
        shown = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
    assert shown == ["5s", "5s", "repeatable read"]
    with database.write() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"


def test_run_does_not_end_under_tasks_that_are_being_cleared(database: Database) -> None:
    """The clearing is committed after the step has read how its tasks ended, and before it ends the run."""
    world = World(database)
    run = world.begin(task("only"))
    (instance,) = run.instances.values()
    attempt = world.queue(instance)
    world.start(attempt)
    world.finish(attempt)

    def end_it(connection: Any) -> None:
        step = Step(Memory(world.me, router("one")), connection, world.at)
        step.adopt_run(reload(connection, run))
        assert world.clear("d") == 1
        step.finish_runs()

    with pytest.raises(GuardRefusedError, match="cleared"), database.write() as connection:
        end_it(connection)
    assert world.run(run.id).state == "running"
    assert world.states(run.id) == {"only": "none"}


# -- migrations


def test_migrated_by_two_at_once(empty: Settings) -> None:
    done: list[Any] = []

    def run() -> None:
        try:
            done.append(migrating.migrate(empty))
        except BaseException as error:
            done.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [REVISION, REVISION]
    migrating.check(empty)


def test_reset_leaves_the_tables_of_others(empty: Settings) -> None:
    migrating.migrate(empty)
    database = open_database(empty)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE stray (x INTEGER)"))
        set_slots(connection, "default_pool", 7)
    migrating.reset(empty)
    assert slots(database) == 128
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM stray")).scalar() == 0
    database.close()


# -- what people are told


def refused(settings: Settings, do: Callable[[Settings], Any] = migrating.check) -> str:
    with pytest.raises(DatabaseError) as caught:
        do(settings)
    told = str(caught.value)
    assert "\n" not in told
    assert "my-secret" not in told
    return told


def test_database_without_tables(empty: Settings) -> None:
    assert refused(empty) == "the metadata DB is not migrated; run `hybrid db migrate`"


def test_server_that_is_not_there(settings: Settings) -> None:
    told = refused(at(settings, "postgresql+psycopg://me:my-secret@127.0.0.1:1/x"))
    assert told.startswith("the metadata DB cannot be reached: connection failed: ")
    assert "Connection refused" in told


def test_database_that_is_not_there(settings: Settings, postgres: Postgres) -> None:
    told = refused(at(settings, postgres.url("nowhere").replace("postgres@", "postgres:my-secret@")))
    assert told.endswith('FATAL: database "nowhere" does not exist')


def test_user_that_is_unknown(settings: Settings, url: str) -> None:
    told = refused(at(settings, url.replace("postgres@", "nobody-i-know:my-secret@")))
    assert told.endswith('FATAL: role "nobody-i-know" does not exist')


def test_wrong_password(settings: Settings) -> None:
    """On a server that asks for one."""
    server = Server()
    try:
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        server.start()
        admin = Postgres(server.folder)
        admin.execute("CREATE ROLE me LOGIN PASSWORD 'right'")
        admin.close()
        told = refused(at(settings, f"postgresql+psycopg://me:my-secret@/postgres?host={server.folder}"))
        assert told.endswith('FATAL: password authentication failed for user "me"')
    finally:
        server.close()


def test_user_who_may_not_create_tables(settings: Settings, empty: Settings, postgres: Postgres) -> None:
    role = f"weak_{time.time_ns()}"
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    weak = at(settings, empty.database.sql_alchemy_conn.replace("postgres@", f"{role}:my-secret@"))
    told = refused(weak, migrating.migrate)
    assert told == "the metadata DB cannot be migrated: permission denied for schema public"


def test_tables_of_another_program(empty: Settings) -> None:
    """Airflow's own database has tables of the same names: neither used nor dropped."""
    database = Database(empty.database.sql_alchemy_conn)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('29ce7909c52b')"))
    database.close()
    for do in (migrating.check, migrating.migrate, migrating.reset):
        assert "another program (its migration is '29ce7909c52b')" in refused(empty, do)


@pytest.mark.parametrize("url", ["postgresql://me:my-secret@host:port/x", "postgresql://me:x@my-secret:y@host:z/x"])
def test_url_that_is_none_is_not_quoted(settings: Settings, url: str) -> None:
    assert refused(at(settings, url)).startswith("[database] sql_alchemy_conn is no database URL; ")


def test_option_that_is_none(settings: Settings, url: str) -> None:
    assert refused(at(settings, f"{url}&foo=bar")).endswith('invalid connection option "foo"')


def test_without_psycopg(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    told = refused(at(settings, "postgresql+psycopg://me:my-secret@/x"))
    assert told.endswith("run `pip install 'hybrid-runtime[postgres]'`")


# -- what does not grow with history


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (select(dag_run.c.id).where(run_is_open), "ix_dag_run_open"),
        (limits._USED, "ix_task_instance_active"),
        (select(task_attempt.c.id).where(attempt_is_active), "ix_task_attempt_active"),
    ],
)
def test_partial_indexes_fit_their_queries(database: Database, query: Select[Any], index: str) -> None:
    """PostgreSQL rewords a condition, of the index and of the query; it must find that they are the same."""
    with database.read() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        words = str(query.compile(database.engine, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(connection.execute(text(f"EXPLAIN {words}")).scalars())
    assert index in plan
