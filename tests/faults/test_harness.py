"""The fault harness itself, through its own command: a short run in CI; ``make faults`` is the long one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from deployment import ROOT, wait_until

PATIENCE = 400.0
"""Seconds: some 75 on two idle cores."""


def harness(*words: str, log: Path) -> subprocess.Popen[str]:
    """The command, begun; what it says while it goes on is in ``log``."""
    with log.open("w") as progress:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.harness", *words],
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def expect_good(tmp_path: Path, *words: str, attempts: int, faults: int) -> None:
    log = tmp_path / "progress"
    with harness("--attempts", str(attempts), "--faults", str(faults), *words, "-o", "json", log=log) as command:
        out, _ = command.communicate(timeout=PATIENCE * attempts / 300)
    report = json.loads(out or "{}")
    assert report.get("violations") == [], f"{out}\n{log.read_text()}"
    assert [report[word] for word in ("lost", "doubled", "wrong", "leaked")] == [0, 0, 0, 0]
    assert (command.returncode, report["attempts"] >= attempts) == (0, True)
    assert report["faults"] + report["missed"] == faults
    assert report["recovery_p50"] is not None
    assert report["repeated"] > 0, "it has struck"
    assert left_of(log) == []


@pytest.mark.timeout(PATIENCE + 30)
def test_three_hundred_attempts_with_fifteen_faults(tmp_path):
    """Nothing is lost, doubled, wrong or leaked, on three executors under two schedulers."""
    expect_good(tmp_path, "--seed", "1", "--duration", "25", attempts=300, faults=15)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("words", [("--seed", "2"), ("--seed", "3", "--one-host"), ("--seed", "4", "--fast", "3")])
def test_a_thousand_attempts_with_fifty_faults(tmp_path, words):
    expect_good(tmp_path, *words, attempts=1000, faults=50)


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    log = tmp_path / "progress"
    with harness("--attempts", "300", "--faults", "15", log=log) as command:
        wait_until(lambda: "everything runs" in log.read_text() or command.poll() is not None, "the deployment", 60)
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 130, log.read_text()
    assert "interrupted" in log.read_text()
    wait_until(lambda: left_of(log) == [], "everything to be gone")


def left_of(log: Path) -> list[str]:
    """What a run that kept nothing has left: its folder, and processes that name it."""
    found = re.search(r"home (\S+)/home-", log.read_text())
    assert found is not None, log.read_text()
    folder = found[1]
    left = [folder] if Path(folder).exists() else []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if f"HYBRID_HOME={folder}/".encode() in environment:
                left.append(" ".join(process.cmdline()))
    return left
