"""Every bad ``[core] executor`` of the issue: one line that says where, what, and what to write instead."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError, ExecutorLoadError
from executors.names import parse_executors
from executors.registry import ExecutorRegistry

BUILT_IN = "(built in: LocalExecutor, SequentialExecutor, CeleryExecutor, KubernetesExecutor)"
NEITHER = "neither a built-in executor nor a dotted module.path.Class"
AT_LEAST = "name at least one executor: LocalExecutor, SequentialExecutor, CeleryExecutor, KubernetesExecutor"
LETTERS = "may hold only A-Z, a-z, 0-9, '-' and '_', and starts with a letter"

BAD_LISTS = {
    "empty": ("", f"[core] executor is empty; {AT_LEAST}"),
    "only spaces": (" \n", f"[core] executor is empty; {AT_LEAST}"),
    "only a comma": (",", f"[core] executor holds only commas; {AT_LEAST}"),
    "only commas": (" , ,", f"[core] executor holds only commas; {AT_LEAST}"),
    "trailing comma": ("LocalExecutor,", "[core] executor, entry 2: the list ends with a comma; remove it"),
    "leading comma": (",LocalExecutor", "[core] executor, entry 1: there is nothing before this comma; remove it"),
    "two commas": (
        "LocalExecutor,,CeleryExecutor",
        "[core] executor, entry 2: there is nothing before this comma; remove it",
    ),
    "A::B": ("A::B", "[core] executor, entry 1 'A::B': more than one ':'; write alias:target"),
    "A:B:C": ("x.Y, A:B:C", "[core] executor, entry 2 'A:B:C': more than one ':'; write alias:target"),
    "A:": ("A:", "[core] executor, entry 1 'A:': no target after ':'; write A:LocalExecutor, for example"),
    ":B": (":B", "[core] executor, entry 1 ':B': no alias before ':'; write alias:B, or leave ':' out"),
    "colon alone": (
        ":",
        "[core] executor, entry 1 ':': no alias before ':'; write alias:LocalExecutor, or leave ':' out",
    ),
    "a:NoDot": ("a:NoDot", f"[core] executor, entry 1 'a:NoDot': 'NoDot' is {NEITHER} {BUILT_IN}"),
    "unknown name": (
        "LocalExecutor, Foo",
        f"[core] executor, entry 2 'Foo': {NEITHER} {BUILT_IN}",
    ),
    "misspelt name": (
        "LocalExcutor",
        f"[core] executor, entry 1 'LocalExcutor': {NEITHER}; did you mean LocalExecutor? {BUILT_IN}",
    ),
    "wrong case": (
        "localexecutor",
        f"[core] executor, entry 1 'localexecutor': {NEITHER}; did you mean LocalExecutor? {BUILT_IN}",
    ),
    "wrong case under an alias": (
        "x:celeryExecutor",
        f"[core] executor, entry 1 'x:celeryExecutor': 'celeryExecutor' is {NEITHER}; "
        f"did you mean CeleryExecutor? {BUILT_IN}",
    ),
    "short name": ("Local", f"[core] executor, entry 1 'Local': {NEITHER}; did you mean LocalExecutor? {BUILT_IN}"),
    "space inside": (
        "Local Executor",
        f"[core] executor, entry 1 'Local Executor': {NEITHER}; did you mean LocalExecutor? {BUILT_IN}",
    ),
    "empty part of a path": ("a..B", f"[core] executor, entry 1 'a..B': {NEITHER} {BUILT_IN}"),
    "keyword in a path": ("a.class.B", f"[core] executor, entry 1 'a.class.B': {NEITHER} {BUILT_IN}"),
    "line break in a name": (
        "a:b.C\nD",
        f"[core] executor, entry 1 'a:b.C\\nD': 'b.C\\nD' is {NEITHER} {BUILT_IN}",
    ),
    "alias twice": (
        "a:LocalExecutor, a:CeleryExecutor",
        "[core] executor, entry 2 'a:CeleryExecutor': the alias 'a' is taken by entry 1 'a:LocalExecutor'; "
        "choose another alias",
    ),
    "same name twice": (
        "LocalExecutor, x:LocalExecutor, LocalExecutor",
        "[core] executor, entry 3 'LocalExecutor': the same executor as entry 1 'LocalExecutor'; "
        "give this one an alias, for example second:LocalExecutor",
    ),
    "same class by name and by path": (
        "LocalExecutor, executors.local.executor.LocalExecutor",
        "[core] executor, entry 2 'executors.local.executor.LocalExecutor': the same executor as entry 1 "
        "'LocalExecutor'; give this one an alias, for example second:executors.local.executor.LocalExecutor",
    ),
    "alias is the name of another entry": (
        "LocalExecutor, LocalExecutor:LocalExecutor",
        "[core] executor, entry 2 'LocalExecutor:LocalExecutor': the name 'LocalExecutor' is taken by entry 1 "
        "'LocalExecutor'; choose another alias",
    ),
    "alias is the class of an earlier entry": (
        "my.mod.Fast, Fast:LocalExecutor",
        "[core] executor, entry 2 'Fast:LocalExecutor': 'Fast' would mean this or entry 1 'my.mod.Fast', "
        "one by its alias, one by its class; choose another alias",
    ),
    "alias is the class of a later entry": (
        "Fast:LocalExecutor, x:my.mod.Fast",
        "[core] executor, entry 2 'x:my.mod.Fast': 'Fast' would mean this or entry 1 'Fast:LocalExecutor', "
        "one by its alias, one by its class; choose another alias",
    ),
    "alias is another built-in": (
        "CeleryExecutor:LocalExecutor",
        "[core] executor, entry 1 'CeleryExecutor:LocalExecutor': alias 'CeleryExecutor' is the name of a different "
        "executor; choose another alias",
    ),
    "alias and target swapped": (
        "LocalExecutor:heavy",
        "[core] executor, entry 1 'LocalExecutor:heavy': alias 'LocalExecutor' is the name of a different executor; "
        "did you mean heavy:LocalExecutor?",
    ),
    "equal after folding": (
        "a-b:LocalExecutor, A_B:CeleryExecutor",
        "[core] executor, entry 2 'A_B:CeleryExecutor': its alias becomes A_B in environment variables, like that of "
        "entry 1 'a-b:LocalExecutor'; choose another alias",
    ),
    "module:Class": (
        "my.mod:Fast",
        "[core] executor, entry 1 'my.mod:Fast': an alias has no dots; did you mean my.mod.Fast? "
        "(a class is written with dots only)",
    ),
    "illegal letter": ("bé:LocalExecutor", f"[core] executor, entry 1 'bé:LocalExecutor': alias 'bé' {LETTERS}"),
    "space in an alias": ("a b:LocalExecutor", f"[core] executor, entry 1 'a b:LocalExecutor': alias 'a b' {LETTERS}"),
    "digit first": ("1a:LocalExecutor", f"[core] executor, entry 1 '1a:LocalExecutor': alias '1a' {LETTERS}"),
    "alias too long": (
        f"{'x' * 64}:LocalExecutor",
        f"[core] executor, entry 1 '{'x' * 64}:LocalExecutor': the alias has 64 characters; at most 63 are allowed",
    ),
    "two underscores": (
        "a__b:LocalExecutor",
        "[core] executor, entry 1 'a__b:LocalExecutor': alias 'a__b' holds '__' ('-' counts as '_'), "
        "which separates the parts of environment variables",
    ),
    "two underscores after folding": (
        "a-_b:LocalExecutor",
        "[core] executor, entry 1 'a-_b:LocalExecutor': alias 'a-_b' holds '__' ('-' counts as '_'), "
        "which separates the parts of environment variables",
    ),
    "LocalKubernetesExecutor": (
        "x:LocalKubernetesExecutor",
        "[core] executor, entry 1 'x:LocalKubernetesExecutor': LocalKubernetesExecutor has no alias; write its two "
        "executors as a list, executor = LocalExecutor, KubernetesExecutor",
    ),
}


@pytest.mark.parametrize(("value", "message"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_bad_list(value: str, message: str):
    with pytest.raises(ExecutorConfigError) as caught:
        parse_executors(value)
    assert str(caught.value) == message


# -- classes that cannot be used -------------------------------------------------------------------------------------

MODULE = """
from executors.base import BaseExecutor
class FastExecutor(BaseExecutor): pass
class Needy(BaseExecutor):
    def __init__(self, parallelism, *, context): raise OSError("no broker\\n at localhost")
class Leaver(BaseExecutor):
    def __init__(self, parallelism, *, context): raise SystemExit(3)
class Lazy(BaseExecutor):
    def __init__(self, parallelism, *, context): pass
class Stranger: pass
def function(): pass
"""


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a module that can be imported during this test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        tmp_path.joinpath(f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def load(value: str, section: Mapping[str, str] | None = None, parallelism: int = 32) -> ExecutorRegistry:
    return ExecutorRegistry.load(value, options=lambda _section, _alias: section or {}, parallelism=parallelism)


BAD_CLASSES = {
    "module missing": ("nowhere.Cls", "there is no module nowhere; is it installed, and on PYTHONPATH?", True),
    "submodule missing": (
        "json.nowhere.Cls",
        "there is no module json.nowhere; is it installed, and on PYTHONPATH?",
        True,
    ),
    "Airflow's path": (
        "nowhere.executors.local_executor.LocalExecutor",
        "there is no module nowhere; did you mean LocalExecutor?",
        True,
    ),
    "module without its extra": (
        "wants_extra.Cls",
        "importing wants_extra needs the module boto3.nowhere, which is not installed; "
        "pip install 'hybrid-runtime[aws]'",
        True,
    ),
    "module without its library": (
        "wants_library.Cls",
        "importing wants_library needs the module no_such_library, which is not installed; "
        "install what provides no_such_library",
        True,
    ),
    "module raises": ("raises.Cls", "importing raises raised ValueError: two lines", True),
    "module exits": ("exits.Cls", "importing exits raised SystemExit: 7", True),
    "module has a syntax error": (
        "broken.Cls",
        "importing broken raised SyntaxError: invalid syntax (broken.py, line 1)",
        True,
    ),
    "attribute missing": ("good.Cls", "module good has no Cls", True),
    "attribute misspelt": ("good.fastExecutor", "module good has no fastExecutor; did you mean FastExecutor?", True),
    "no class": ("good.function", "function in good is no class but of type function", False),
    "no executor": ("good.Stranger", "class Stranger in good does not inherit from executors.BaseExecutor", False),
    "the base itself": (
        "good.BaseExecutor",
        "class BaseExecutor in good does not inherit from executors.BaseExecutor",
        False,
    ),
}


@pytest.mark.parametrize(("target", "reason", "chained"), BAD_CLASSES.values(), ids=BAD_CLASSES)
def test_bad_class(target: str, reason: str, chained: bool, write_module: Callable[[str, str], None]):
    """One line with position and entry; what was raised stays chained."""
    write_module("good", MODULE)
    write_module("raises", "raise ValueError('two\\nlines')")
    write_module("exits", "raise SystemExit(7)")
    write_module("broken", "class")
    write_module("wants_library", "import no_such_library.part")
    write_module("wants_extra", "raise ModuleNotFoundError('No module named boto3.nowhere', name='boto3.nowhere')")
    entry = f"mine:{target}"
    with pytest.raises(ExecutorLoadError) as caught:
        load(f"good.FastExecutor, {entry}")
    assert str(caught.value) == f"[core] executor, entry 2 '{entry}': {reason}"
    assert (caught.value.__cause__ is not None) == chained


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        ("Needy", "its constructor raised OSError: no broker at localhost"),
        ("Leaver", "its constructor raised SystemExit: 3"),
        ("Lazy", "its constructor does not call super().__init__()"),
    ],
)
def test_bad_constructor(cls: str, reason: str, write_module: Callable[[str, str], None]):
    write_module("good", MODULE)
    registry = load(f"good.FastExecutor, x:good.{cls}")
    with pytest.raises(ExecutorLoadError) as caught:
        registry.create("x", ExecutorContext())
    assert str(caught.value) == f"[core] executor, entry 2 'x:good.{cls}': {reason}"


def test_bad_option_of_a_constructor():
    registry = load("x:executors.testing.ScriptedExecutor", {"instant": "maybe"})
    with pytest.raises(ExecutorLoadError) as caught:
        registry.create("x", ExecutorContext())
    assert str(caught.value) == (
        "[core] executor, entry 1 'x:executors.testing.ScriptedExecutor': its constructor raised ExecutorConfigError: "
        "x: option instant = 'maybe' is none of true, false"
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("-1", "parallelism = -1 in [scripted_executor:x] or [scripted_executor] is negative; use 0 for unlimited"),
        ("many", "parallelism = 'many' in [scripted_executor:x] or [scripted_executor] is not a whole number"),
        ("1.5", "parallelism = '1.5' in [scripted_executor:x] or [scripted_executor] is not a whole number"),
    ],
)
def test_bad_parallelism_of_an_executor(raw: str, reason: str):
    with pytest.raises(ExecutorConfigError) as caught:
        load("x:executors.testing.ScriptedExecutor", {"parallelism": raw})
    assert str(caught.value) == f"executor x, entry 1 of [core] executor: {reason}"


def test_negative_core_parallelism():
    with pytest.raises(ExecutorConfigError) as caught:
        load("LocalExecutor", parallelism=-4)
    assert str(caught.value) == "[core] parallelism = -4 is negative; use 0 for unlimited"
