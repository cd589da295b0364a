"""``hybrid executors check``: each executor is asked in a process of its own; whatever it does there is one line."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
WHOLE = "(deployment)"

MODULE = """
import os, time
from executors import BaseExecutor
from executors.errors import ExecutorError

class Base(BaseExecutor):
    def execute_async(self, key, command, queue=None, executor_config=None): ...
    def sync(self): ...

class Well(Base): ...
class Ill(Base):
    def health_check(self): return "no broker\\nat all"
class Raises(Base):
    def start(self): raise ExecutorError("the cluster is gone")
class Breaks(Base):
    def health_check(self): return 1 / 0
class Hangs(Base):
    def health_check(self):
        open(os.path.join(os.path.dirname(__file__), "hanging"), "w").close()
        time.sleep(600)
class Meets1(Base):
    def health_check(self):
        folder = os.path.dirname(__file__)
        open(os.path.join(folder, type(self).__name__ + ".here"), "w").close()
        while sum(name.endswith(".here") for name in os.listdir(folder)) < 3: time.sleep(0.01)
class Meets2(Meets1): ...
class Meets3(Meets1): ...
class Dies(Base):
    def start(self): os._exit(3)
class Warns(Base):
    def examine(self):
        from executors.findings import Examination, Finding, Severity
        found = Finding(Severity.WARNING, "image", "it is\\nold")
        return Examination((found,), (), {"default": 1})
class Prints(Base):
    def start(self): print("noise")
"""


@pytest.fixture
def check(hybrid, home, monkeypatch, tmp_path):
    (tmp_path / "checked.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*classes: str, words: tuple[str, ...] = ()):
        monkeypatch.setenv("HYBRID__CORE__EXECUTOR", ", ".join(f"{name.lower()}:checked.{name}" for name in classes))
        return hybrid("executors", "check", *words, "-o", "json")

    return run


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Ill", "no broker at all"),
        ("Raises", "the cluster is gone"),
        ("Breaks", "ZeroDivisionError: division by zero"),
        ("Hangs", "it has not answered within 0.5 s"),
        ("Dies", "it ended its process"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(check, name, problem):
    result = check("Well", name, words=("--timeout", "0.5") if name == "Hangs" else ())
    assert result.code == 1
    assert [(row["name"], row["healthy"], row["problem"]) for row in result.json[:2]] == [
        ("well", True, None),
        (name.lower(), False, problem),
    ]


def test_all_well_is_exit_code_0_and_what_an_executor_prints_is_kept_out(check):
    result = check("Well", "Prints")
    assert (result.code, [row["healthy"] for row in result.json]) == (0, [True, True, True])


def test_a_warning_is_told_and_is_no_failure(check, hybrid):
    """A queue that is needed by nobody needs no worker."""
    result = check("Warns", "Well")
    assert (result.code, result.json[0]["healthy"], result.json[0]["problem"]) == (0, True, None)
    assert result.json[0]["findings"] == [{"severity": "warning", "about": "image", "text": "it is old"}]
    lines = hybrid("executors", "check", "-o", "plain").out.splitlines()
    assert lines[1].split() == ["warns", "warning", "image", "it", "is", "old"]
    assert lines[2].split() == ["well", "ok"]


def test_without_a_database_it_says_that_nothing_was_compared(check):
    whole = check("Well").json[-1]
    assert (whole["name"], whole["healthy"]) == (WHOLE, True)
    ((text),) = [each["text"] for each in whole["findings"]]
    assert text.startswith("the components cannot be compared: there is no metadata DB at ")


def test_executors_are_asked_side_by_side(check):
    """Each of them answers once it has seen the others."""
    assert [row["problem"] for row in check("Meets1", "Meets2", "Meets3").json[:3]] == [None] * 3


def test_ctrl_c_leaves_nothing_behind(check, home, tmp_path):
    """Also not the process of an executor that hangs."""
    words = [sys.executable, "-m", "runtime.cli.main", "executors", "check"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "HYBRID__CORE__EXECUTOR": "checked.Hangs"}
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "hanging").exists():
                assert time.monotonic() < deadline
                select.select([], [], [], 0.01)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, b"Traceback" in err) == (130, False)
    assert children
    assert not any(child.is_running() for child in children)


def test_one_is_asked_by_name(check):
    assert [row["name"] for row in check("Well", "Ill", words=("well",)).json] == ["well"]
    refused = check("Well", words=("wel",))
    assert refused.code == 1
    assert "unknown executor 'wel'; did you mean well?" in refused.err


def test_one_that_cannot_be_loaded_is_told(hybrid, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "no.such.Executor")
    result = hybrid("executors", "check", "-o", "json")
    assert result.code == 1
    assert "there is no module no" in result.json[0]["problem"]


def test_the_real_local_executor_is_well_and_leaves_nothing(hybrid, home, monkeypatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor")
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    assert hybrid("executors", "check", "-o", "json").json[0]["problem"] is None
    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
