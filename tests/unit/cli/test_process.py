"""The command as a process: imports, closed pipes, Ctrl-C, the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

HYBRID = [sys.executable, "-m", "runtime.cli.main"]


@pytest.fixture
def environment(home):
    return {**os.environ, "HYBRID_HOME": str(home)}


def test_version_imports_nothing_heavy(environment):
    """The reason that it answers in a few milliseconds."""
    code = "import sys; from runtime.cli.main import main; main(['version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"sqlalchemy", "rich", "msgspec", "jinja2", "argparse", "dataclasses", "logging"})


def test_closed_stdout_is_quiet(settings, environment):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*HYBRID, "config", "list"], stdout=write_end, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(write_end)
    assert done.stderr == b""
    assert done.returncode == 141


def test_full_disk_on_stdout_is_one_line(environment, home):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HYBRID, "config", "list"], stdout=full, stderr=subprocess.PIPE, env=environment, check=False
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_ctrl_c_while_waiting_exits_130_and_the_run_stays(etl, hybrid, environment):
    waiting = subprocess.Popen(
        [*HYBRID, "dags", "trigger", "etl", "--run-id", "kept", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert waiting.stderr is not None
    assert "no scheduler is running" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert errors == "hybrid: interrupted\n"
    assert hybrid("dags", "list-runs", "etl", "-o", "json").json[0]["run_id"] == "kept"


def test_unexpected_error_is_one_line_that_says_how_to_see_more(hybrid, etl, monkeypatch):
    monkeypatch.setattr("runtime.db.queries.list_dags", lambda connection: 1 / 0)
    result = hybrid("dags", "list")
    assert result.code == 1
    assert result.err == "hybrid: unexpected ZeroDivisionError: division by zero (HYBRID_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("HYBRID_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        hybrid("dags", "list")
