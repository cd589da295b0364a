"""Connections, variables and pools in the database: encrypted, found again, changed all or none."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from runtime.core import messages as m
from runtime.core.errors import HybridError, NotFoundError
from runtime.db import connections, pools, variables
from runtime.db.engine import Database
from runtime.db.pools import Pool
from runtime.db.schema import connection as connection_table
from runtime.db.schema import task_instance
from runtime.db.schema import variable as variable_table
from runtime.secrets.connection import Connection
from runtime.secrets.errors import SecretsError
from runtime.secrets.keyring import Keyring
from runtime.service.tasks import TaskService
from tests.database.builders import World, spec, task

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path, OLD)


@pytest.fixture
def world(database: Database, keyring: Keyring) -> World:
    """Its task service has the key."""
    made = World(database)
    made.service = TaskService(database, keyring=keyring, clock=made.clock)
    return made


def stored(database: Database) -> str:
    """Everything that the two tables hold."""
    with database.read() as db:
        return repr([db.execute(select(table)).all() for table in (connection_table, variable_table)])


def fill(database: Database, keyring: Keyring) -> Connection:
    one = Connection("pg", "postgres", "about", "h", "u", "CANARY-password", "db", 5, {"api_key": "CANARY-extra"})
    with database.write() as db:
        connections.add_connection(db, keyring, one)
        variables.save_variable(db, keyring, "v", "CANARY-variable\0é", "about")
    return one


def test_secrets_come_back_and_are_in_no_column_in_the_clear(database: Database, keyring: Keyring) -> None:
    one = fill(database, keyring)
    with database.read() as db:
        assert connections.find_connection(db, keyring, "pg") == one
        assert variables.list_variables(db, keyring) == [("v", "CANARY-variable\0é", "about")]
        assert connections.find_connection(db, keyring, "no") is None
        assert variables.find_variable(db, keyring, "no") is None
    assert "CANARY" not in stored(database)


def test_rotation_moves_everything_to_the_first_key(database: Database, keyring: Keyring, tmp_path: Path) -> None:
    one = fill(database, keyring)
    with database.write() as db:
        both = Keyring(tmp_path, f"{NEW},{OLD}")
        assert (connections.rotate_connections(db, both), variables.rotate_variables(db, both)) == (1, 1)
    new = Keyring(tmp_path, NEW)
    with database.read() as db:
        assert connections.require_connection(db, new, "pg") == one
        assert variables.require_variable(db, new, "v") == "CANARY-variable\0é"
        with pytest.raises(SecretsError, match="variable 'v' cannot be decrypted: it was stored under another"):
            variables.find_variable(db, keyring, "v")


def test_what_exists_is_replaced_kept_or_refused(database: Database, keyring: Keyring) -> None:
    fill(database, keyring)
    found = {"pg": Connection("pg", "x"), "two": Connection("two", "x")}
    with database.write() as db:
        with pytest.raises(HybridError, match="there is a connection 'pg' already; use `hybrid connections set`"):
            connections.add_connection(db, keyring, found["pg"])
        done = connections.save_connections(db, keyring, found, overwrite=False)
        assert done == {"created": ["two"], "replaced": [], "kept": ["pg"]}
        assert connections.save_connections(db, keyring, found, overwrite=True)["replaced"] == ["pg", "two"]
        assert connections.require_connection(db, keyring, "pg").conn_type == "x"
        pairs = {"v": ("1", None), "w": ("2", "text")}
        with pytest.raises(HybridError, match="there is a variable 'v' already; nothing was imported"):
            variables.import_variables(db, keyring, pairs, "fail")
        assert variables.import_variables(db, keyring, pairs, "skip")["kept"] == ["v"]
        assert variables.import_variables(db, keyring, pairs, "overwrite")["replaced"] == ["v", "w"]
        assert variables.list_variables(db, keyring) == [("v", "1", "about"), ("w", "2", "text")]


def test_what_is_missing_names_what_is_near(database: Database, keyring: Keyring) -> None:
    fill(database, keyring)
    with database.write() as db:
        for act, message in (
            (lambda: connections.delete_connection(db, "pgg"), "there is no connection 'pgg', did you mean 'pg'?"),
            (lambda: variables.drop_variable(db, "vv"), "there is no variable 'vv', did you mean 'v'?"),
            (
                lambda: pools.delete_pool(db, "default_pol"),
                "there is no pool 'default_pol', did you mean 'default_pool'",
            ),
        ):
            with pytest.raises(NotFoundError) as raised:
                act()
            assert str(raised.value).startswith(message)
        with pytest.raises(SecretsError, match="variable 'big' has 1048577 characters; the limit is 1048576"):
            variables.save_variable(db, keyring, "big", "x" * (2**20 + 1))


# -- the task service


def test_an_attempt_reads_and_writes_while_it_runs(world: World, keyring: Keyring) -> None:
    fill(world.database, keyring)
    attempt = world.queue(next(iter(world.begin(task("t")).instances.values())))
    world.start(attempt)
    found, absent, connection, done, made, gone, again = world.ask(
        m.VariableGet(attempt, "n1", "v"),
        m.VariableGet(attempt, "n1", "no"),
        m.ConnectionGet(attempt, "n1", "pg"),
        m.VariableSet(attempt, "n1", "new", "CANARY-new"),
        m.VariableGet(attempt, "n1", "new"),
        m.VariableDelete(attempt, "n1", "new"),
        m.VariableDelete(attempt, "n1", "new"),
    )
    assert (found.value, absent.value, made.value) == ("CANARY-variable\0é", None, "CANARY-new")
    assert json.loads(connection.value)["password"] == "CANARY-password"
    assert done == m.Done(True)
    assert (gone.value, again.value) == ("", None)
    assert "CANARY" not in f"{found!r} {m.VariableSet(attempt, 'n1', 'k', 'CANARY')!r} {stored(world.database)}"


def test_only_the_launch_that_runs_may_ask(world: World, keyring: Keyring) -> None:
    fill(world.database, keyring)
    attempt = world.queue(next(iter(world.begin(task("t")).instances.values())))

    def ask(nonce: str) -> list[m.Reply]:
        return world.ask(
            m.VariableGet(attempt, nonce, "v"),
            m.ConnectionGet(attempt, nonce, "pg"),
            m.VariableDelete(attempt, nonce, "v"),
            m.VariableSet(attempt, nonce, "v", "changed"),
        )

    def refused(replies: list[m.Reply]) -> bool:
        *secrets, done = replies
        assert all(isinstance(one, m.Secret) and one.value is None for one in secrets)
        return all(one.reason for one in replies) and not done.accepted

    assert refused(ask("n1")), "before its start"
    world.start(attempt)
    assert refused(ask("n2")), "another launch"
    world.finish(attempt)
    assert refused(ask("n1")), "after its end"
    with world.database.read() as db:
        assert variables.require_variable(db, keyring, "v") == "CANARY-variable\0é"


def test_a_wrong_key_or_bad_name_is_a_reason_and_the_rest_of_the_batch_is_answered(
    world: World, tmp_path: Path
) -> None:
    fill(world.database, Keyring(tmp_path, NEW))
    attempt = world.queue(next(iter(world.begin(task("t")).instances.values())))
    world.start(attempt)
    unreadable, unnamed, beat = world.ask(
        m.VariableGet(attempt, "n1", "v"), m.VariableSet(attempt, "n1", "", "x"), m.Heartbeat(attempt, "n1")
    )
    assert unreadable.reason.startswith("variable 'v' cannot be decrypted: it was stored under another Fernet key")
    assert unnamed.reason == "a variable's key has 1 to 250 characters"
    assert beat.go_on


# -- pools


def test_pools_say_how_full_they_are(world: World) -> None:
    with world.database.write() as db:
        pools.save_pools(db, [Pool("p", 3, "about"), Pool("open", -1)])
    model = world.begin(task("a", pool="p", pool_slots=2), task("b", pool="p"))
    ids = {instance.node.spec.task_id: world.queue(instance) for instance in model.instances.values()}
    world.start(ids["a"])
    with world.database.read() as db:
        assert pools.require_pool(db, "p") == {
            "pool": "p",
            "slots": 3,
            "description": "about",
            "running": 2,
            "queued": 1,
            "open": 0,
        }
        assert pools.require_pool(db, "open")["open"] is None


def test_bad_pools_change_nothing(database: Database) -> None:
    with database.write() as db:
        with pytest.raises(HybridError, match="pool 'b': slots must be 0 or more, or -1 for unlimited, not -2"):
            pools.save_pools(db, [Pool("a", 1), Pool("b", -2)])
        with pytest.raises(HybridError, match="default_pool cannot be deleted"):
            pools.delete_pool(db, "default_pool")
        assert [one["pool"] for one in pools.list_pools(db)] == ["default_pool"]


def test_a_dag_that_wants_a_pool_it_cannot_get_is_warned_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with world.database.write() as db:
        pools.save_pools(db, [Pool("small", 1)])
    tasks = (task("a", pool="absent"), task("b", pool="absent"), task("c", pool="small", pool_slots=2), task("d"))
    with caplog.at_level(logging.WARNING):
        world.save(spec("d", *tasks))
    assert caplog.messages == [
        "dags.py: DAG 'd', task 'a': there is no pool 'absent', so it will wait; "
        "create it with `hybrid pools set absent SLOTS DESCRIPTION`",
        "dags.py: DAG 'd', task 'c': it wants 2 slots of pool 'small', which has 1, so it will wait",
    ]


def test_no_task_instance_is_in_a_variables_way(world: World) -> None:
    """Keys of all characters that a task id may not have."""
    attempt = world.queue(next(iter(world.begin(task("t")).instances.values())))
    world.start(attempt)
    (done, found) = world.ask(m.VariableSet(attempt, "n1", "a b/ü'\"", ""), m.VariableGet(attempt, "n1", "a b/ü'\""))
    assert (done, found.value) == (m.Done(True), "")
    assert len(world.rows(task_instance)) == 1
