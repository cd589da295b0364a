"""``hybrid tasks logs``: the file of this host, the log server of another one, and the executor, in one answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from runtime.cli import executor_logs
from runtime.config import load
from runtime.db.schema import task_attempt
from runtime.logserver.server import LogServer
from runtime.tokens.keys import load_log_tokens

FOLDER = "dag_id=etl/run_id=r1/task_id=extract"
EXECUTOR = """
import os, sys, threading, time
from executors import BaseExecutor
from executors.errors import ExecutorError

class Mine(BaseExecutor):
    def execute_async(self, key, command, queue=None, executor_config=None): ...
    def sync(self): ...
    def start(self): raise AssertionError("nobody asked to start it")
    def get_task_log(self, ti, try_number):
        {body}
"""


@pytest.fixture
def logs(hybrid, run):
    """``hybrid tasks logs`` of the task that has had two dispatches on the executor ``heavy``."""
    return lambda: hybrid("tasks", "logs", "etl", "r1", "extract")


@pytest.fixture
def write(run, settings):
    """Put a log of ``extract`` into a log folder, this host's unless told otherwise."""

    def write(name: str, text: str, base: Path | None = None) -> None:
        folder = (base or load().logging.base_log_folder) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


@pytest.fixture
def heavy(home, monkeypatch):
    """Have ``heavy`` be an executor of ours whose ``get_task_log`` has the given body."""

    def configure(body: str) -> None:
        plugins = home / "plugins"
        plugins.mkdir(exist_ok=True)
        (plugins / "mine_logs.py").write_text(EXECUTOR.format(body=body))
        monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor, heavy:mine_logs.Mine")

    return configure


@pytest.fixture
def on_host(database):
    """Have both dispatches have run on a host."""

    def place(hostname: str) -> None:
        with database.write() as connection:
            connection.execute(update(task_attempt).values(hostname=hostname))

    return place


@pytest.fixture
def other_host(tmp_path, settings, monkeypatch) -> Iterator[Path]:
    """The log folder of a log server that this command reaches as ``localhost``."""
    folder = tmp_path / "elsewhere"
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("HYBRID__LOGGING__WORKER_LOG_SERVER_PORT", str(listener.getsockname()[1]))
    with LogServer(listener, folder, load_log_tokens(settings)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_another_hosts_log_is_fetched(logs, write, on_host, other_host):
    on_host("localhost")
    write("attempt=1.log", "first\n", other_host)
    write("attempt=1.2.log", "here\n")
    result = logs()
    assert (result.code, result.out) == (0, "first\nhere\n")
    assert "dispatch 1 on heavy: lost: worker died; as localhost has it\n" in result.err
    assert "dispatch 2 on heavy: success\n" in result.err
    assert "eyJ" not in result.err


def test_this_hosts_own_log_server_is_asked_where_it_listens(logs, write, on_host, other_host, monkeypatch):
    """A worker of this host may have a home of its own."""
    monkeypatch.setattr(socket, "gethostname", lambda: "no.such.host.invalid")
    on_host("no.such.host.invalid")
    write("attempt=1.2.log", "other home\n", other_host)
    assert logs().out == "other home\n"


def test_why_a_log_is_not_to_be_had(logs, on_host, other_host, monkeypatch):
    on_host("localhost")
    result = logs()
    assert (result.code, result.out) == (0, "")
    assert (
        "dispatch 1 on heavy: lost: worker died; it logged nothing that is on this host; it ran on localhost, and the "
        "log server on localhost:" in result.err
    )
    assert "says 404: there is no such log on this host\n" in result.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HYBRID__LOGGING__WORKER_LOG_SERVER_PORT", str(port))
    assert f"and no log server answers on localhost:{port}: Connection refused\n" in logs().err


def test_what_the_executor_has_is_merged(logs, write, heavy, on_host):
    heavy('return [f"pod of try {try_number}, {ti.key.attempt_id != str()}"], ["line 1\\nextra", "line 3\\n"]')
    write("attempt=1.2.log", "line 1\nline 2")
    result = logs()
    assert result.out == "line 1\nextra\nline 3\nline 1\nline 2\nextra\nline 3\n"
    assert result.err.count("── heavy: pod of try 1, True\n") == 2
    assert "dispatch 1 on heavy: lost: worker died\n" in result.err, "there is a log of it"


def test_an_executor_is_told_where_workers_find_the_task_api(logs, heavy, monkeypatch):
    """By which it may tell its deployment's work from another's."""
    monkeypatch.setenv("HYBRID__CORE__EXECUTION_API_SERVER_URL", "http://api.example:8080/execution/v1")
    heavy('return [], [self.context.worker_config["task_api_url"]]')
    assert logs().out.splitlines()[0] == "http://api.example:8080/execution/v1"


def test_an_executor_without_logs_of_its_own_is_not_even_made(logs, write, heavy):
    heavy("...")
    plugin = load().home / "plugins" / "mine_logs.py"
    plugin.write_text(plugin.read_text().replace("get_task_log", "something_else"))
    with plugin.open("a") as file:
        file.write("\n    def __init__(self, *args, **kwargs): raise AssertionError\n")
    write("attempt=1.2.log", "text\n")
    result = logs()
    assert (result.out, "AssertionError" in result.err) == ("text\n", False)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise KeyError("gone")', "no log of it: KeyError: 'gone'"),
        ("raise SystemExit(3)", "no log of it: SystemExit: 3"),
        ('raise ExecutorError("the API server does not answer")', "no log of it: the API server does not answer"),
        ("raise ExecutorError", "no log of it: ExecutorError"),
        ("os._exit(0)", "get_task_log() ended its process"),
        ("os.kill(os.getpid(), 9)", "get_task_log() ended its process"),
        ("return None", "get_task_log() returned no (messages, logs) but NoneType"),
        ('return [], "text"', "get_task_log() returned no (messages, logs) but tuple"),
        ("return [1], []", "get_task_log() returned no (messages, logs) but tuple"),
        ("return [], [], []", "get_task_log() returned no (messages, logs) but tuple"),
    ],
)
def test_an_executor_that_misbehaves_costs_one_line(logs, write, heavy, body, words):
    heavy(body)
    write("attempt=1.2.log", "text\n")
    result = logs()
    assert (result.code, result.out) == (0, "text\n")
    assert result.err.count(f"hybrid: executor heavy: {words}\n") == 2
    assert len(result.err.splitlines()) == 4, result.err


def test_an_executor_that_hangs_is_given_up_and_its_processes_with_it(logs, write, heavy, tmp_path, monkeypatch):
    monkeypatch.setattr(executor_logs.ask_executor, "__defaults__", (0.5,))
    pids = tmp_path / "pids"
    heavy(f'open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n"); time.sleep(600)')
    write("attempt=1.2.log", "text\n")
    result = logs()
    assert (result.code, result.out) == (0, "text\n")
    assert result.err.count("hybrid: executor heavy: get_task_log() has not returned within 0.5 s\n") == 2
    assert not [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")]


def test_what_an_executor_prints_and_leaves_running_stays_out(logs, write, heavy):
    heavy("print('noise', flush=True); threading.Thread(target=time.sleep, args=(600,)).start(); return [], ['log']")
    assert logs().out == "log\nlog\n"


def test_an_executor_that_cannot_be_loaded_is_said_so(logs, write, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor, heavy:no_such_module.Mine")
    write("attempt=1.2.log", "text\n")
    result = logs()
    assert (result.code, result.out) == (0, "text\n")
    assert "hybrid: executor heavy: " in result.err
    assert "no module no_such_module" in result.err


def test_an_executor_that_is_configured_no_longer_is_said_so(logs, write):
    write("attempt=1.2.log", "text\n")
    result = logs()
    assert (result.code, result.out) == (0, "text\n")
    words = "hybrid: executor heavy: it is configured no longer, so it cannot be asked for a log\n"
    assert result.err.count(words) == 1, "only where there is no log"
