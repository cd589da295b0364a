"""The tests' own PostgreSQL: it ends with the session that it was started for, however that ends."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import postgres_server
from tests.postgres import PR_SET_CHILD_SUBREAPER, SESSION, STATE, end_session_server, session_server

DEADLINE = 20.0


@pytest.fixture
def session():
    """A process that stands for pytest's controller."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


def begin(session: subprocess.Popen[bytes]) -> tuple[int, Path, int]:
    """A server for that session: its guard's pid, its folder, its own pid."""
    words = [sys.executable, postgres_server.__file__, str(session.pid)]
    said = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout)
    folder = Path(said["folder"])
    return said["guard"], folder, int((folder / "data" / "postmaster.pid").read_text().split()[0])


def wait_for_the_end_of(*descriptors: int) -> None:
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], DEADLINE)[0]
        os.close(descriptor)


@pytest.mark.parametrize("killed", ["session", "guard"])
def test_the_server_does_not_outlive(session: subprocess.Popen[bytes], killed: str) -> None:
    guard, folder, server = begin(session)
    ends = os.pidfd_open(guard), os.pidfd_open(server)
    os.kill(session.pid if killed == "session" else guard, signal.SIGKILL)
    wait_for_the_end_of(*ends)
    assert folder.exists() == (killed == "guard")
    if killed == "guard":
        shutil.rmtree(folder)


def test_a_session_that_is_over_gets_none(session: subprocess.Popen[bytes]) -> None:
    session.kill()
    session.wait()
    words = [sys.executable, postgres_server.__file__, str(session.pid)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert ended.stdout == ""
    assert "ProcessLookupError" in ended.stderr


def test_a_process_that_adopts_orphans_does_not_get_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else tests that look for processes left behind would find it, and kill it."""
    monkeypatch.setenv(SESSION, str(os.getpid()))
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        session_server(tmp_path)
        guard = json.loads((tmp_path / STATE).read_text())["guard"]
        assert guard not in {process.pid for process in psutil.Process().children(recursive=True)}
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        end_session_server(tmp_path)
