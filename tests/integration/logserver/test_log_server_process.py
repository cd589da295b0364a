"""``hybrid serve-logs`` as a process, and as the child of a scheduler."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.config import Settings
from runtime.logserver import child as module
from runtime.logserver.child import LogServerChild
from runtime.logserver.client import LogUnavailableError, fetch_log
from runtime.tokens.keys import load_log_tokens
from tests.integration.logserver.conftest import PATH, TEXT

ROOT = Path(__file__).parents[3]
LATER = 10_000.0
"""A moment of the clock at which every pause is over."""


@pytest.fixture
def here(settings: Settings, monkeypatch) -> Settings:
    """A home with one log, whose log server has a free port; processes that are started find it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = settings.logging.base_log_folder / PATH
    log.parent.mkdir(parents=True)
    log.write_bytes(TEXT)
    monkeypatch.setenv("HYBRID__LOGGING__WORKER_LOG_SERVER_PORT", str(port))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return replace(settings, logging=replace(settings.logging, worker_log_server_port=port))


@pytest.fixture
def beside(here: Settings) -> Iterator[LogServerChild]:
    made = LogServerChild(here)
    yield made
    made.close()
    assert made.pid is None


def fetch(settings: Settings) -> bytes:
    port = settings.logging.worker_log_server_port
    return fetch_log("127.0.0.1", port, PATH, load_log_tokens(settings).log_token(PATH), timeout=20)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_serves_from_the_moment_that_it_is_started(here, beside):
    beside.tend()
    assert fetch(here) == TEXT, "a reader waits in the socket while the process comes up"
    pid = beside.pid
    beside.tend(LATER)
    assert beside.pid == pid
    beside.close()
    assert not is_alive(pid)
    with pytest.raises(LogUnavailableError, match="refused"):
        fetch(here)


def test_one_that_died_is_started_again_after_a_pause(here, beside, caplog, wait):
    beside.tend(1.0)
    killed = beside.pid
    os.kill(killed, signal.SIGKILL)
    wait(lambda: not is_alive(killed))
    beside.tend(2.0)
    assert beside.pid is None
    assert "the log server has ended with exit code -9; again in 1 s" in caplog.text
    beside.tend(2.5)
    assert beside.pid is None, "not before the pause is over"
    beside.tend(3.0)
    assert beside.pid not in (None, killed)
    assert fetch(here) == TEXT


def test_pauses_grow_and_the_same_news_is_told_once(here, caplog, wait):
    """A command that cannot work is not started as fast as it dies."""
    failing = LogServerChild(here, (sys.executable, "-c", "raise SystemExit(3)"))
    now, starts = 0.0, []
    while len(starts) < 4:
        failing.tend(now)
        if failing.pid is not None:
            starts.append(now)
            wait(lambda: not is_alive(failing.pid))
        now += 1.0
    failing.close()
    assert [later - earlier for earlier, later in pairwise(starts)] == [2.0, 3.0, 5.0]
    assert [r.levelname for r in caplog.records if "exit code 3" in r.message] == ["WARNING"]


def test_a_taken_port_is_one_warning_and_is_taken_later(here, beside, caplog):
    caplog.set_level(logging.INFO)
    port = here.logging.worker_log_server_port
    with socket.create_server(("127.0.0.1", port)):
        for now in range(0, 600, 10):
            beside.tend(float(now))
        assert beside.pid is None
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert f"no log server on 127.0.0.1:{port}: Address already in use" in warnings[0]
    beside.tend(LATER)
    assert fetch(here) == TEXT


def test_it_ends_with_a_scheduler_that_is_killed(here, wait):
    script = (
        "import sys, time\nfrom runtime.config import load\nfrom runtime.logserver.child import LogServerChild\n"
        "child = LogServerChild(load())\nchild.tend()\nprint(child.pid, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert fetch(here) == TEXT
        parent.kill()
    wait(lambda: not is_alive(pid))


def test_the_command_serves_until_it_is_told_to_stop(here, wait):
    with subprocess.Popen(
        [*module.COMMAND], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert f"serving the logs below {here.logging.base_log_folder} on 127.0.0.1:" in line
        assert fetch(here) == TEXT
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


def test_the_command_says_in_one_line_that_the_port_is_taken(here):
    port = here.logging.worker_log_server_port
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            module.COMMAND, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, cwd=ROOT
        )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"hybrid: the log server cannot listen on 127.0.0.1:{port}: Address already in use; " in done.stderr


def test_a_reader_that_is_served_does_not_keep_it_from_ending(here, beside):
    beside.tend()
    assert fetch(here) == TEXT
    with socket.create_connection(("127.0.0.1", here.logging.worker_log_server_port)) as idle:
        idle.sendall(b"GET ")
        beside.close()
