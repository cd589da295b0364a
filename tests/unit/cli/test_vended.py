"""Commands that executors add to ``hybrid``; whatever is wrong with one of them is a warning and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

MODULE = """
import sys
from executors import BaseExecutor
from executors.cli import ActionCommand, Arg, GroupCommand

def explode(args): raise ValueError("boom\\nat sea")
def leave(args): sys.exit(7)
def say(args): print("said", args.words)

class First(BaseExecutor):
    @staticmethod
    def get_cli_commands():
        deep = GroupCommand("deep", "deeper things", [
            ActionCommand("explode", "raise", explode), ActionCommand("leave", "exit", leave),
            ActionCommand("odd", "return a text", lambda args: "text"),
        ])
        return [
            GroupCommand("boxes", "boxes of all kinds", [ActionCommand("open", "open one", lambda args: 3), deep]),
            ActionCommand("say", "say something", say, [Arg(("words",), {"nargs": "*"})]),
            ActionCommand("shout", "cannot be parsed", say, [Arg(("x", "--y"))]),
        ]

class Second(BaseExecutor):
    @staticmethod
    def get_cli_commands():
        return [GroupCommand("boxes", "never seen", [
            ActionCommand("close", "close one", lambda args: None), ActionCommand("open", "again", lambda args: 9),
        ])]

class Clashing(BaseExecutor):
    @staticmethod
    def get_cli_commands():
        return [GroupCommand("dags", "not ours", [ActionCommand("list", "x", explode)]),
                ActionCommand("version", "x", say)]

class Raising(BaseExecutor):
    @staticmethod
    def get_cli_commands(): raise OSError("no\\ncommands")

class Leaving(BaseExecutor):
    @staticmethod
    def get_cli_commands(): sys.exit("gone")

class Rubbish(BaseExecutor):
    @staticmethod
    def get_cli_commands():
        return [5, ActionCommand("", "x", say), ActionCommand("two words", "x", say),
                ActionCommand("dumb", "", say), ActionCommand("inert", "x", None),
                ActionCommand("args", "x", say, ["--x"]), GroupCommand("g", "x", None)]

class Nothing(BaseExecutor):
    @staticmethod
    def get_cli_commands(): return None
"""


@pytest.fixture
def configure(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Names executors of the module above."""
    (home / "plugins").mkdir()
    (home / "plugins" / "vending_machines.py").write_text(MODULE)

    def name(*classes: str) -> None:
        value = ", ".join(["LocalExecutor", *(text if "." in text else f"vending_machines.{text}" for text in classes)])
        monkeypatch.setenv("HYBRID__CORE__EXECUTOR", value)

    path = list(sys.path)
    yield name
    sys.path[:] = path
    sys.modules.pop("vending_machines", None)


def test_commands_of_all_executors_are_merged(configure, hybrid):
    configure("First", "Second")
    shown = hybrid("boxes", "--help")
    assert [line.split()[0] for line in shown.out.splitlines() if line.startswith("  ")] == ["open", "deep", "close"]
    assert shown.err == (
        "hybrid: warning: executor vending_machines.Second: a command `hybrid boxes open` is left out: an executor "
        "before it in [core] executor has it too\n"
    )
    assert (hybrid("boxes", "open").code, hybrid("boxes", "close").code) == (3, 0)


def test_a_class_under_two_aliases_vends_once(configure, hybrid):
    configure("First", "x:vending_machines.First")
    assert hybrid("boxes", "--help").err == ""


def test_help_shows_them_in_a_section_of_their_own(configure, hybrid):
    configure("First")
    shown = hybrid("--help").out
    own, _, vended = shown.partition("of the configured executors:\n")
    assert "  standalone" in own
    assert "boxes" not in own
    assert [line.split() for line in vended.splitlines()[:3]] == [
        ["boxes", "boxes", "of", "all", "kinds"], ["say", "say", "something"], ["shout", "cannot", "be", "parsed"],
    ]  # fmt: skip


def test_help_without_vended_commands_has_no_such_section(hybrid):
    assert "of the configured executors" not in hybrid("--help").out


CODES = {
    ("boxes",): 2,
    ("boxes", "deep"): 2,
    ("boxes", "deep", "--help"): 0,
    ("boxes", "deep", "explode"): 1,
    ("boxes", "deep", "leave"): 7,
    ("boxes", "deep", "odd"): 1,
    ("boxes", "deep", "opne"): 2,
    ("boxes", "open", "extra"): 2,
    ("say", "a", "b"): 0,
    ("say", "--help"): 0,
    ("shout",): 1,
    ("nonsense",): 2,
}


@pytest.mark.parametrize(("words", "code"), CODES.items(), ids=[" ".join(words) for words in CODES])
def test_exit_codes_are_those_of_other_verbs(configure, hybrid, words: tuple[str, ...], code: int):
    configure("First")
    result = hybrid(*words)
    assert result.code == code
    assert result.err.count("\n") <= 1 or "usage" in result.err


def test_errors_are_one_line(configure, hybrid):
    configure("First")
    assert hybrid("boxes", "deep", "explode").err == (
        "hybrid: unexpected ValueError: boom at sea (HYBRID_TRACEBACK=1 shows where)\n"
    )
    assert hybrid("boxes", "deep", "odd").err == "hybrid: `hybrid boxes deep odd` returned str, which is no exit code\n"
    assert "`hybrid shout` declares a bad argument ('x', '--y')" in hybrid("shout").err
    assert "did you mean `hybrid boxes deep explode`?" in hybrid("boxes", "deep", "explod").err


def test_own_verbs_win(configure, hybrid):
    configure("Clashing")
    shown = hybrid("--help")
    assert "of the configured executors" not in shown.out
    said = (
        "hybrid: warning: executor vending_machines.Clashing: a command `hybrid %s` is left out: hybrid has it itself"
    )
    assert shown.err.splitlines() == [said % "dags", said % "version"]


BROKEN = {
    "Raising": "executor vending_machines.Raising: get_cli_commands() raised OSError: no commands",
    "Leaving": "executor vending_machines.Leaving: get_cli_commands() raised SystemExit: gone",
    "Nothing": "executor vending_machines.Nothing: get_cli_commands() raised TypeError: 'NoneType' object is not "
               "iterable",
    "no.such.Executor": "[core] executor, entry 2 'no.such.Executor': there is no module no; is it installed, and on "
                        "PYTHONPATH?",
}  # fmt: skip


@pytest.mark.parametrize(("cls", "warning"), BROKEN.items(), ids=BROKEN)
def test_broken_executor_is_a_warning(configure, hybrid, cls: str, warning: str):
    configure(cls, "First")
    result = hybrid("boxes", "open")
    assert (result.code, result.err) == (3, f"hybrid: warning: {warning}\n")


def test_rubbish_among_commands_is_left_out(configure, hybrid):
    configure("Rubbish", "First")
    result = hybrid("boxes", "open")
    assert result.code == 3
    assert [line.rpartition("left out: ")[2] for line in result.err.splitlines()] == [
        "it is of type int, neither ActionCommand nor GroupCommand",
        "its name is ''",
        "its name is 'two words'",
        "dumb has no help",
        "the func of inert cannot be called",
        "the args of args are no list of Arg",
        "the subcommands of g are no list",
    ]


def test_help_is_given_where_the_configuration_is_broken(hybrid, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HYBRID__CORE__EXECUTOR", "NoSuchExecutor")
    result = hybrid("--help")
    assert result.code == 0
    assert "standalone" in result.out
    assert "NoSuchExecutor" in result.err


def test_executors_list_shows_the_others_and_why_one_is_broken(configure, hybrid, settings):
    configure("no.such.Executor", "First")
    result = hybrid("executors", "list", "-o", "json")
    assert result.code == 0
    assert result.err == f"hybrid: warning: {BROKEN['no.such.Executor']}\n"
    broken, first = result.json[1:]
    assert (broken["name"], broken["health"], broken["reason"]) == (
        "no.such.Executor", "unavailable", BROKEN["no.such.Executor"],
    )  # fmt: skip
    assert (first["health"], first["reason"], first["is_local"], first["is_production"]) == (None, None, False, True)
