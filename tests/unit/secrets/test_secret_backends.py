"""Who is asked, in which order, and what happens when one of them fails."""

from __future__ import annotations

import json
import logging

import pytest

from runtime.authoring.secrets import CONN, VAR, BaseHook, Variable
from runtime.config import load
from runtime.core.errors import ConfigError
from runtime.secrets import access, masking
from runtime.secrets.access import SecretsConfig, serve
from runtime.secrets.backends import BaseSecretsBackend, load_backend
from runtime.secrets.connection import Connection
from runtime.secrets.errors import (
    ConnectionNotFound,
    NotServedError,
    SecretsAccessDenied,
    SecretsError,
    VariableNotFound,
)


class Stored:
    """A database of one variable and one connection, and what was written to it."""

    def __init__(self) -> None:
        self.variables = {"stored": "from the database", "shared": "from the database", "json": '{"a": {"b": 1}}'}

    def variable(self, key):
        return self.variables.get(key)

    def connection(self, conn_id):
        fields = {"conn_type": "x", "host": "database", "password": "CANARY-stored"}
        return json.dumps(fields) if conn_id in ("stored", "shared") else None

    def set_variable(self, key, value, description):
        self.variables[key] = value

    def delete_variable(self, key):
        return self.variables.pop(key, None) is not None


class Vault(BaseSecretsBackend):
    """Knows ``shared`` and ``own``; fails for ``broken``, with a secret in its words; denies ``denied``."""

    def __init__(self, password="") -> None:
        super().__init__()

    def get_variable(self, key):
        if key == "broken":
            raise ValueError("CANARY-in-the-error")
        if key == "denied":
            raise SecretsAccessDenied("not for you")
        return "from the vault" if key in ("own", "shared") else None

    def get_conn_value(self, conn_id):
        return "x://u:CANARY-vault@vault" if conn_id in ("own", "shared") else None

    def get_config(self, key):
        return "7" if key == "seven" else None


@pytest.fixture
def stored():
    """A task runs, with a vault and a database."""
    source = Stored()
    serve(lambda: source, SecretsConfig(backend=f"{__name__}.Vault", backend_kwargs='{"password": "CANARY-kwargs"}'))
    yield source
    serve(None, SecretsConfig())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("own", "from the vault"),
        ("shared", "from the vault"),
        ("both", "from the environment"),
        ("stored", "from the database"),
    ],
)
def test_backend_then_environment_then_database(stored, monkeypatch, key, value):
    for name in ("SHARED", "BOTH"):
        monkeypatch.setenv(f"HYBRID_VAR_{name}", "from the environment")
    stored.variables["both"] = "from the database"
    assert Variable.get(key) == value
    assert getattr(VAR.value, key) == value


def test_connections_in_the_same_order_uri_and_json(stored, monkeypatch):
    monkeypatch.setenv("HYBRID_CONN_ENV", '{"conn_type": "x", "host": "environment"}')
    monkeypatch.setenv("HYBRID_CONN_SHARED", "x://environment")
    hosts = [BaseHook.get_connection(name).host for name in ("own", "shared", "env", "stored")]
    assert hosts == ["vault", "vault", "environment", "database"]
    assert CONN.stored.host == "database"
    assert masking.masker.text("CANARY-vault CANARY-stored CANARY-kwargs") == "*** *** ***"


def test_a_backend_that_fails_is_a_warning_without_its_words(stored, caplog):
    stored.variables["broken"] = "from the database"
    with caplog.at_level(logging.WARNING):
        assert Variable.get("broken") == "from the database"
    assert caplog.messages == ["Vault could not answer for variable 'broken' (ValueError); asking the next"]


def test_a_denial_is_final(stored, monkeypatch):
    monkeypatch.setenv("HYBRID_VAR_DENIED", "from the environment")
    with pytest.raises(SecretsAccessDenied):
        Variable.get("denied", default="x")


def test_what_nobody_knows(stored):
    with pytest.raises(VariableNotFound, match="there is no variable 'nope'; set it with `hybrid variables set`"):
        Variable.get("nope")
    with pytest.raises(KeyError):
        Variable.get("nope")
    assert Variable.get("nope", default_var=None) is Variable.get("nope", default=None) is None
    assert VAR.value.get("nope", "d") == VAR.json.get("nope", "d") == "d"
    with pytest.raises(ConnectionNotFound, match="there is no connection 'nope'"):
        Connection.get("nope")
    assert CONN.get("nope", "d") == "d"


def test_json_variables_are_read_and_written(stored):
    assert Variable.get("json", deserialize_json=True) == {"a": {"b": 1}}
    assert VAR.json.json["a"]["b"] == 1
    Variable.set("made", {"x": 1}, serialize_json=True)
    assert json.loads(stored.variables["made"]) == {"x": 1}
    assert Variable.setdefault("made", {"y": 2}, deserialize_json=True) == {"x": 1}
    assert (Variable.delete("made"), Variable.delete("made")) == (1, 0)
    with pytest.raises(SecretsError, match="variable 'stored' is no JSON, and is to be read as such"):
        Variable.get("stored", deserialize_json=True)


@pytest.mark.parametrize("key", ["", None, 5, "x" * 251, "a\0b"])
def test_bad_keys(stored, key):
    with pytest.raises(SecretsError, match="a variable's key is a text of 1 to 250 characters"):
        Variable.get(key)


def test_where_no_task_runs_a_default_is_no_answer():
    """A worker imports files before it has an attempt: with the default it would hold a wrong version of the DAG."""
    serve(None, SecretsConfig())
    with pytest.raises(NotServedError, match="only while a task runs, or a DAG file is parsed"):
        Variable.get("x", default="d")


@pytest.mark.parametrize("suffix", ["json", "yaml", "env"])
def test_local_files(stored, tmp_path, suffix):
    texts = {
        "json": ('{"k": {"a": 1}}', '{"c": {"conn_type": "x", "host": "h"}}'),
        "yaml": ("k: {a: 1}", "c: {conn_type: x, host: h}"),
        "env": ('k={"a": 1}', "c=x://h"),
    }
    paths = {}
    for name, text in zip(("variables", "connections"), texts[suffix], strict=True):
        paths[f"{name}_file_path"] = str(tmp_path / f"{name}.{suffix}")
        (tmp_path / f"{name}.{suffix}").write_text(text)
    serve(access._access.source, SecretsConfig("LocalFilesystemBackend", json.dumps(paths)))
    assert Variable.get("k", deserialize_json=True) == {"a": 1}
    assert Connection.get("c").host == "h"
    assert Variable.get("stored") == "from the database"


@pytest.mark.parametrize(
    ("backend", "kwargs", "message"),
    [
        ("nowhere.Vault", "", "[secrets] backend = nowhere.Vault: it cannot be imported (ModuleNotFoundError: "),
        ("json.Vault", "", "[secrets] backend = json.Vault: module json has no class Vault"),
        ("Vault", "", "[secrets] backend = Vault: it cannot be imported (ImportError: it must be module.Class)"),
        (f"{__name__}.Vault", '{"pasword": "CANARY"}',
         f"[secrets] backend = {__name__}.Vault: it cannot be made with its backend_kwargs (TypeError)"),
        (f"{__name__}.Vault", "CANARY", "[secrets] backend_kwargs must be a JSON object such as"),
    ],
)  # fmt: skip
def test_a_backend_that_cannot_be_had_is_one_line(backend, kwargs, message):
    with pytest.raises(ConfigError) as raised:
        load_backend(backend, kwargs)
    assert str(raised.value).startswith(message)
    assert "CANARY" not in str(raised.value)


def test_an_option_may_come_from_the_backend(tmp_path):
    env = {"HYBRID__SECRETS__BACKEND": f"{__name__}.Vault", "HYBRID__CORE__PARALLELISM_SECRET": "seven"}
    assert load(tmp_path, env).core.parallelism == 7
    with pytest.raises(ConfigError, match="HYBRID__CORE__PARALLELISM_SECRET: the secrets backend knows no 'eight'"):
        load(tmp_path, env | {"HYBRID__CORE__PARALLELISM_SECRET": "eight"})
