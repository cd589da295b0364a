"""``hybrid executors check``: each executor is asked in a process of its own; whatever it does there is one line."""

from __future__ import annotations

import os

import pytest

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
    def health_check(self): time.sleep(600)
class Dies(Base):
    def start(self): os._exit(3)
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
    assert [(row["name"], row["healthy"], row["problem"]) for row in result.json] == [
        ("well", True, None),
        (name.lower(), False, problem),
    ]


def test_all_well_is_exit_code_0_and_what_an_executor_prints_is_kept_out(check):
    result = check("Well", "Prints")
    assert (result.code, [row["healthy"] for row in result.json]) == (0, [True, True])


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
    import psutil

    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "LocalExecutor")
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    assert hybrid("executors", "check", "-o", "json").json[0]["problem"] is None
    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
