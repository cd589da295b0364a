"""Canaries: a deployment full of known secrets, of which none may come up anywhere that somebody else looks.

A DAG runs on LocalExecutor, on an executor that only launches ``command`` (the ticket waits in a file) and on one that
passes the ticket on in the environment; everything logs at DEBUG; the tasks print their environment and what they see
of all processes. Meanwhile the process table is sampled; afterwards every output is searched.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deployment import HYBRID, ROOT, Deployment, wait_until
from sqlalchemy import MetaData, select
from sqlalchemy.engine import make_url

from executors.context import ExecutorContext
from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.config import load
from runtime.config.executors import load_registry
from runtime.core.task_api import TICKET_VARIABLE
from runtime.db.engine import Database
from runtime.scheduler.tickets import Tickets
from runtime.tokens.keys import load_tokens, log_secret
from runtime.tokens.tokens import Tokens

JWT_SECRET = "canary-jwt-secret-" + "5" * 64
DATABASE_PASSWORD = "canary-database-password"
EXECUTOR_PASSWORD = "canary-executor-password"
JWT = re.compile(rb"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
"""Header, claims and signature of a token; nothing else begins so and has two dots."""

EXECUTORS = """
import subprocess
from tutorial import MyExecutor

class Filed(MyExecutor):
    conf_section = "filed"

class Passing(MyExecutor):
    conf_section = "passing"
    ticket_file = False
    is_local = False

    def execute_async(self, key, command, queue=None, executor_config=None):
        import os
        env = {**os.environ, **self.workload(key).env}
        self.processes[key] = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        self.log.debug("launched %r for %r, with %r", command, self.workload(key), self.context)
"""
DAG = """
import os, time
from pathlib import Path
from runtime import DAG, task

def look(where):
    Path(os.environ["HYBRID_HOME"], "tmp", where).touch()
    print("environment", dict(os.environ))
    print("environ", Path("/proc/self/environ").read_bytes())
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                print(entry, Path("/proc", entry, "cmdline").read_bytes())
            except OSError:
                pass
    print("parent", Path(f"/proc/{os.getppid()}/environ").read_bytes() if where != "local" else "")
    end = time.monotonic() + 20
    while not Path(os.environ["HYBRID_HOME"], "tmp", "sampled").exists() and time.monotonic() < end:
        time.sleep(0.05)
    raise ValueError("so that the traceback is logged, too")

with DAG("look", schedule=None):
    for name, executor in (("local", None), ("filed", "filed"), ("passing", "passing")):
        @task(task_id=name, executor=executor)
        def looks(name=name):
            look(name)
        looks()
"""
EXECUTED = re.compile(r"bin/hybrid tasks run ")
"""A launch that has just been executed: the first that it does is to take its ticket and give itself a title."""
TASKS = ("local", "filed", "passing")


@dataclass
class Samples:
    """What the process table has shown, by the words of the process; argument lists whole, environments too."""

    argv: set[bytes] = field(default_factory=set)
    environ: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def take(self, deployment: Deployment) -> None:
        for process in deployment.processes():
            try:
                argv = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                continue
            self.argv.add(argv)
            self.environ[argv.replace(b"\0", b" ").decode(errors="replace").strip()].add(environ)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a new PostgreSQL database, with a password that it does not ask for; empty: SQLite, in the home."""
    if request.param == "sqlite":
        yield ""
        return
    postgres = request.getfixturevalue("postgres")
    made = postgres.create()
    yield make_url(made).set(password=DATABASE_PASSWORD).render_as_string(hide_password=False)
    postgres.drop(made)


@pytest.fixture
def full_of_secrets(url: str, deployment: Deployment) -> tuple[Deployment, list[bytes]]:
    """A running deployment and its secrets. On PostgreSQL the key is configured, on SQLite it is made."""
    options = {
        "core": {"executor": "LocalExecutor, filed:canaries.Filed, passing:canaries.Passing"},
        "filed": {"password": EXECUTOR_PASSWORD},
        "passing": {"password": EXECUTOR_PASSWORD, "broker_url": f"redis://user:{EXECUTOR_PASSWORD}@broker/0"},
        "logging": {"logging_level": "DEBUG"},
    }
    secrets = [EXECUTOR_PASSWORD.encode()]
    if url:
        options |= {"database": {"sql_alchemy_conn": url}, "api_auth": {"jwt_secret": JWT_SECRET}}
        secrets += [JWT_SECRET.encode(), DATABASE_PASSWORD.encode()]
    plugins = deployment.home / "plugins"
    plugins.mkdir()
    (plugins / "tutorial.py").write_text((ROOT / "docs" / "tutorial.py").read_text())
    (plugins / "canaries.py").write_text(EXECUTORS)
    deployment.configure(options)
    deployment.write_dag("look", DAG)
    deployment.standalone()
    if not url:
        secrets.append((deployment.home / "jwt.key").read_bytes())
    return deployment, [*secrets, log_secret(settings_of(deployment)).encode()]


def settings_of(deployment: Deployment):
    return load(deployment.home, env={})


def run_and_sample(deployment: Deployment) -> Samples:
    """Run the DAG to its end; sample until each task has been seen at work."""
    samples, over = Samples(), threading.Event()

    def sample() -> None:
        while not over.is_set():
            samples.take(deployment)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        wait_until(lambda: "look" in deployment.hybrid("dags", "list", "-o", "plain").out, "the DAG is there")
        deployment.hybrid("dags", "trigger", "look", "-r", "r1")
        seen = [deployment.home / "tmp" / name for name in TASKS]
        wait_until(lambda: all(path.exists() for path in seen), "every task runs", story=lambda: states(deployment))
        samples.take(deployment)
        samples.take(deployment)
        (deployment.home / "tmp" / "sampled").touch()
        wait_until(lambda: set(states(deployment).values()) == {"failed"}, "the end", story=lambda: states(deployment))
    finally:
        over.set()
        sampler.join()
    return samples


def states(deployment: Deployment) -> dict[str, str]:
    return {row["task_id"]: row["state"] for row in deployment.json("tasks", "states-for-dag-run", "look", "r1")}


def leaks(data: bytes, secrets: list[bytes]) -> list[bytes]:
    """Every secret in ``data``, and whatever looks like a token."""
    return [secret for secret in secrets if secret in data] + JWT.findall(data)


def table_texts(url: str) -> Iterator[tuple[str, bytes]]:
    """Each table of the database with all that stands in it."""
    database = Database(url)
    tables = MetaData()
    tables.reflect(database.engine)
    with database.read() as connection:
        for table in tables.sorted_tables:
            yield table.name, repr(connection.execute(select(table)).all()).encode()
    database.close()


def answers(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    """What the API server says to somebody without a token, or with a wrong one."""
    text = deployment.daemons[0].text
    url = text.partition("the task API listens on ")[2].split()[0]
    root = url.removesuffix("/execution/v1")
    attempt = "00000000-0000-7000-8000-000000000000"
    wrong = load_tokens(settings_of(deployment)).start_ticket(attempt, 60)
    for path, token in (
        ("/metrics", ""),
        ("/api/v2/monitor/health", ""),
        ("/api/v2/version", ""),
        ("/nothing", wrong),
        (f"/execution/v1/attempts/{attempt}/heartbeat", wrong),
        (f"/execution/v1/attempts/{attempt}/start", wrong),
        (f"/execution/v1/attempts/{attempt}/start", wrong[:-3]),
    ):
        asked = urllib.request.Request(root + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        if "attempts" in path:
            asked.data = b"{}"
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                yield path, answer.read() + str(answer.headers).encode()
        except urllib.error.HTTPError as error:
            with error:
                yield path, error.read() + str(error.headers).encode()


COMMANDS = (
    ("config", "list"),
    ("config", "list", "-o", "json"),
    ("executors", "list", "-o", "json"),
    ("info",),
    ("db", "check"),
    ("dags", "list", "-o", "json"),
    ("tasks", "states-for-dag-run", "look", "r1", "-o", "json"),
    *(("tasks", "logs", "look", "r1", name) for name in TASKS),
)


def outputs(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    for words in COMMANDS:
        done = deployment.hybrid(*words)
        yield " ".join(words), (done.out + done.err).encode()


def test_no_secret_comes_up_anywhere(full_of_secrets):
    deployment, secrets = full_of_secrets
    samples = run_and_sample(deployment)
    launches = [words for words in samples.environ if words.startswith("hybrid tasks run ")]
    assert len(launches) == 2, "both were seen at work, when nothing may be left of their tickets"
    outside = [*process_table(samples), *files(deployment), *answers(deployment), *outputs(deployment)]
    outside += table_texts(database_url(deployment))
    found = {where: hits for where, data in outside if (hits := leaks(data, secrets))}
    assert not found
    for name in TASKS:
        log = deployment.hybrid("tasks", "logs", "look", "r1", name).out
        assert "environment {" in log, "the search has had something to find"
        assert "so that the traceback is logged, too" in log
    assert_files_are_private(deployment)


def process_table(samples: Samples) -> Iterator[tuple[str, bytes]]:
    """All that was seen, but for a launch's environment before it has begun: that brings the ticket."""
    for argv in samples.argv:
        yield f"arguments {argv!r}", argv
    for words, environments in samples.environ.items():
        for environ in environments:
            if not EXECUTED.search(words):
                yield f"environment of {words}", environ


def files(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    """Everything below the home but what is there to hold secrets, and is private."""
    for path in deployment.home.rglob("*"):
        if path.is_file() and path.name not in ("hybrid.cfg", "jwt.key") and "plugins" not in path.parts:
            yield str(path.relative_to(deployment.home)), path.read_bytes()


def assert_files_are_private(deployment: Deployment) -> None:
    for path in [deployment.home / "jwt.key", *(deployment.home / "run").glob("*")]:
        if path.exists() and path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert [path.name for path in (deployment.home / "run").iterdir() if path.is_file()] == [], "tickets are removed"


def database_url(deployment: Deployment) -> str:
    return str(settings_of(deployment).database.sql_alchemy_conn)


def test_a_value_is_asked_for_by_name_and_still_masked(full_of_secrets):
    deployment, secrets = full_of_secrets
    for words in (("api_auth", "jwt_secret"), ("database", "sql_alchemy_conn"), ("filed", "password")):
        done = deployment.hybrid("config", "get-value", *words)
        assert not leaks((done.out + done.err).encode(), secrets), words


class TestInMemory:
    """What a debugger, a log line or a traceback would show of the objects that hold secrets."""

    @pytest.fixture
    def settings(self, home: Path):
        (home / "hybrid.cfg").write_text(
            f"[core]\nexecutor = filed:canaries.Filed\n[filed]\npassword = {EXECUTOR_PASSWORD}\n"
            f"[api_auth]\njwt_secret = {JWT_SECRET}\n"
            f"[database]\nsql_alchemy_conn = postgresql://user:{DATABASE_PASSWORD}@host/name\n"
        )
        (home / "plugins").mkdir()
        (home / "plugins" / "canaries.py").write_text(EXECUTORS)
        (home / "plugins" / "tutorial.py").write_text((ROOT / "docs" / "tutorial.py").read_text())
        return load()

    def test_reprs(self, settings, home):
        key = TaskInstanceKey("d", "t", "r", 1, -1, "00000000-0000-7000-8000-000000000000")
        tokens = load_tokens(settings)
        tickets = Tickets(tokens, 60, home / "run")
        workload = tickets.enclose(Workload(key=key, command=("hybrid",), code=CodeReference("a", "b")))
        assert JWT.search(workload.env[TICKET_VARIABLE].encode()), "it has one"
        registry = load_registry(settings)
        context = ExecutorContext(name="filed", options=settings.executor_options("filed", "filed"))
        assert context.options["password"] == EXECUTOR_PASSWORD
        made = registry.create("filed", context)
        made.queue_workload(workload)
        shown = [settings, settings.sources, tokens, tickets, workload, context, made, list(registry), made.context]
        secrets = [secret.encode() for secret in (JWT_SECRET, DATABASE_PASSWORD, EXECUTOR_PASSWORD)]
        for thing in shown:
            assert not leaks(f"{thing!r} {thing!s}".encode(), secrets), type(thing)
        assert not leaks(made.debug_dump().encode(), secrets)

    def test_an_error_of_each_kind_keeps_quiet(self, settings, home):
        """A database that is not to be had, a key that is too short, an option that is no number."""
        secrets = [secret.encode() for secret in (JWT_SECRET[:20], DATABASE_PASSWORD, EXECUTOR_PASSWORD)]
        config = (home / "hybrid.cfg").read_text()
        for broken in (
            config,
            config.replace(JWT_SECRET, JWT_SECRET[:20]),
            config.replace("postgresql://", "nosuchdb://"),
            config.replace("[filed]", "[filed]\nparallelism = many"),
        ):
            (home / "hybrid.cfg").write_text(broken)
            for words in (["scheduler"], ["api-server"], ["serve-logs"], ["db", "check"], ["dags", "list"]):
                with socket.create_server(("127.0.0.1", 0)) as taken:
                    port = str(taken.getsockname()[1])
                    ports = {"HYBRID__LOGGING__WORKER_LOG_SERVER_PORT": port, "HYBRID__API__PORT": port}
                    done = subprocess.run(
                        [*HYBRID, *words],
                        capture_output=True,
                        env=os.environ | {"PYTHONPATH": str(ROOT)} | ports,
                        timeout=60,
                        check=False,
                    )
                assert done.returncode == 1
                assert not leaks(done.stdout + done.stderr, secrets), (words, done.stderr)


def test_the_search_finds_what_it_looks_for():
    """A canary that cannot sing proves nothing."""
    minted = Tokens(b"k" * 64).start_ticket("a", 60).encode()
    assert leaks(b"x " + minted + b" y", []) == [minted]
    assert leaks(json.dumps({"a": EXECUTOR_PASSWORD}).encode(), [EXECUTOR_PASSWORD.encode()])
