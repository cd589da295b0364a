"""Canaries: connections and variables from everywhere, used by tasks that say them in every way that there is.

On LocalExecutor (a pipe) and on an executor that only launches ``command`` (HTTP). Afterwards every file of the home,
with the database and all logs in it, and every output is searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOT, Deployment, wait_until

WORD = b"CANARY"
PASSWORD = "CANARY-p@ss/w\"'rd"
FIELDS = {"conn_type": "postgres", "host": "db", "login": "u", "password": PASSWORD}
CONNECTIONS = {"stored": FIELDS | {"extra": {"region": "eu", "auth": {"api_key": "CANARY-extra"}}}}
VARIABLES = {"api_key": "CANARY-variable", "plain": "seen", "nested": {"a": [{"token": "CANARY-nested"}], "b": 1}}
OF_BACKEND = {"vault": "postgres://u:CANARY-backend@db"}
ENVIRONMENT = {
    "HYBRID_CONN_ENV": "postgres://u:CANARY-environment@db",
    "HYBRID_VAR_ENV_TOKEN": "CANARY-environment-variable",
    "HYBRID__CORE__TEST_CONNECTION": "Enabled",
}

DAG = """
import json, logging, os, subprocess, sys
from pathlib import Path
from urllib.parse import quote
from runtime import DAG, BaseHook, BashOperator, Connection, Variable, task

top = Variable.get("plain")

def say():
    secrets = [BaseHook.get_connection(name).password for name in ("stored", "env", "vault")]
    stored = Connection.get("stored")
    secrets.append(stored.extra_dejson["auth"]["api_key"])
    secrets += [Variable.get("api_key"), Variable.get("env_token")]
    secrets.append(Variable.get("nested", deserialize_json=True)["a"][0]["token"])
    assert len(set(secrets)) == 7, len(set(secrets))
    Variable.set("new_password", secrets[0] + "-new"); secrets.append(Variable.get("new_password"))
    print("begin", top, Variable.get("nothing", default="nothing"))
    for secret in secrets:
        print(secret, quote(secret), quote(secret, safe=""), repr(secret), json.dumps([secret]))
        print({"deep": [{"a": secret}]})
        print("half", secret[:7], end="", flush=True); print(secret[7:])
        sys.stderr.write(secret[:6]); sys.stderr.write(secret[6:] + chr(10))
        logging.getLogger("mine").warning("%s", [secret])
        os.write(1, (secret + chr(10)).encode())
        subprocess.run(["sh", "-c", 'echo "$S" >&2'], env={**os.environ, "S": secret})
    print(stored.get_uri(), stored.as_json(), stored, "x" * 484 + stored.password)
    with open(Path(os.environ["HYBRID_HOME"], "tmp", "argv"), "ab") as file:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and Path("/proc", entry, "cmdline").exists():
                try:
                    file.write(Path("/proc", entry, "cmdline").read_bytes())
                except OSError:
                    pass
    try:
        raise ValueError("inner " + secrets[0])
    except ValueError as error:
        raise RuntimeError("x" * 484 + secrets[0] + secrets[1]) from error

with DAG("say", schedule=None) as dag:
    for name, executor in (("local", None), ("filed", "filed")):
        task(task_id=name, executor=executor, retries=1, retry_delay=0)(say)()
    BashOperator(
        task_id="bash", do_xcom_push=False, env={"S": "{{ conn.env.password }}"}, append_env=True,
        bash_command="echo {{ var.value.api_key }} '{{ var.json.nested.a }}' {{ conn.vault.host }}; echo $S; exit 99",
    )
"""
BROKEN = """
from runtime import DAG, Connection
raise ValueError("cannot log in with " + Connection.get("stored").password)
"""
MISUSED = """
from runtime import DAG, Connection
DAG("no id: " + Connection.get("stored").password)
"""


@pytest.fixture
def filled(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A running deployment that holds the canaries."""
    bare = Deployment.environment.fget
    monkeypatch.setattr(Deployment, "environment", property(lambda self: bare(self) | ENVIRONMENT))
    backend = deployment.home.parent / "vault.json"
    backend.write_text(json.dumps(OF_BACKEND))
    plugins = deployment.home / "plugins"
    plugins.mkdir()
    (plugins / "tutorial.py").write_text((ROOT / "docs" / "tutorial.py").read_text())
    deployment.configure(
        {
            "core": {"executor": "LocalExecutor, filed:tutorial.MyExecutor"},
            "secrets": {
                "backend": "LocalFilesystemBackend",
                "backend_kwargs": json.dumps({"connections_file_path": str(backend)}),
            },
            "logging": {"logging_level": "DEBUG"},
        }
    )
    deployment.hybrid("db", "migrate")
    for group, values in (("connections", CONNECTIONS), ("variables", VARIABLES)):
        file = deployment.home.parent / f"{group}.json"
        file.write_text(json.dumps(values))
        deployment.hybrid(group, "import", str(file))
    deployment.write_dag("say", DAG)
    deployment.write_dag("broken", BROKEN)
    deployment.write_dag("misused", MISUSED)
    deployment.standalone()
    return deployment


COMMANDS = (
    ("connections", "list", "-o", "json"),
    ("variables", "list", "--show-values", "--hide-sensitive", "-o", "json"),
    ("config", "list"),
    ("tasks", "states-for-dag-run", "say", "r1", "-o", "json"),
    ("tasks", "logs", "say", "r1", "filed"),
)


def outside(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    """Whatever somebody may look at: files, the database's own among them, and what commands print."""
    for path in deployment.home.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(deployment.home)), path.read_bytes()
    for words in COMMANDS:
        done = deployment.hybrid(*words)
        yield " ".join(words), (done.out + done.err).encode()
    done = deployment.hybrid("dags", "list-import-errors", "-o", "json", code=1)
    yield "import errors", (done.out + done.err).encode()


def test_no_secret_of_a_user_comes_up_anywhere(filled: Deployment) -> None:
    filled.trigger("say", "-r", "r1")
    assert filled.wait_for_run("say", "r1") == "failed"
    assert filled.task_states("r1") == {"local": "failed", "filed": "failed", "bash": "skipped"}
    wait_until(lambda: len(filled.query("SELECT error FROM import_error")) == 2, "the import errors")
    errors = [row["error"] for row in filled.query("SELECT error FROM import_error ORDER BY rel_path")]
    found = {where: data[max(0, data.find(WORD) - 99) :][:199] for where, data in outside(filled) if WORD in data}
    assert not found
    assert "cannot log in with ***" in errors[0]
    assert "'no id: ***'" in errors[1]
    for name in ("local", "filed"):
        log = next(filled.home.rglob(f"task_id={name}/attempt=2.log")).read_text()
        assert "begin seen nothing" in log, "the search has had something to find"
        assert "RuntimeError: " + "x" * 484 + "******" in log
        assert "ValueError: inner ***" in log
        assert Path(filled.home, "tmp", "argv").stat().st_size > 1000
    reasons = {row["reason"] for row in filled.query("SELECT reason FROM task_attempt WHERE state = 'failed'")}
    assert reasons == {"RuntimeError: " + "x" * 484 + "*…"}
    bash = next(filled.home.rglob("task_id=bash/*.log")).read_text()
    assert "*** [{token: ***}] db" in bash
    stored = filled.hybrid("variables", "get", "new_password").out
    assert stored == f"{PASSWORD}-new\n", "and yet what a task has set is what it was"


def test_dags_test_has_the_deployments_variables_and_any_pool(deployment: Deployment) -> None:
    """In a database of its own, where a task of a pool that does not exist would wait for ever."""
    deployment.hybrid("db", "migrate")
    deployment.hybrid("variables", "set", "api_key", "CANARY-variable")
    deployment.write_dag(
        "say",
        "from runtime import DAG, Variable, task\n"
        "with DAG('say', schedule=None):\n"
        "    @task(pool='absent')\n"
        "    def one(): raise ValueError('no ' + Variable.get('api_key'))\n"
        "    one()\n",
    )
    tried = deployment.hybrid("dags", "test", "say", code=1)
    assert "ValueError: no ***" in tried.out
