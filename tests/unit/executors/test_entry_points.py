"""Executors of installed distributions, as ``importlib.metadata`` finds them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from executors.entry_points import GROUP, installed_executors
from executors.errors import ExecutorConfigError, ExecutorLoadError, UnknownExecutorError
from executors.names import lookup, parse_executors
from executors.registry import ExecutorRegistry

Install = Callable[[str, Mapping[str, str]], None]
PLUGIN = "from executors import BaseExecutor\nclass Fancy(BaseExecutor): pass\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lays a distribution with these entry points on the import path, as an installer does."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "entry_point_plugin.py").write_text(PLUGIN)

    def lay(distribution: str, points: Mapping[str, str]) -> None:
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))

    yield lay
    sys.modules.pop("entry_point_plugin", None)


def load(value: str) -> ExecutorRegistry:
    return ExecutorRegistry.load(value, options=lambda _section, _alias: {}, parallelism=8)


def test_name_of_an_entry_point_is_a_target(install: Install):
    install("fancy", {"FancyExecutor": "entry_point_plugin:Fancy"})
    plain, aliased = registry = load("FancyExecutor, fancy:FancyExecutor")
    assert [entry.cls.__name__ for entry in registry] == ["Fancy", "Fancy"]
    assert (plain.name.name, plain.name.target, plain.name.path) == (
        "FancyExecutor", "FancyExecutor", "entry_point_plugin.Fancy",
    )  # fmt: skip
    assert (aliased.name.name, aliased.name.class_name, aliased.name.entry) == ("fancy", "Fancy", "fancy:FancyExecutor")


def test_looked_up_by_target_class_and_path(install: Install):
    install("fancy", {"FancyExecutor": "entry_point_plugin:Fancy"})
    names = parse_executors("LocalExecutor, fancy:FancyExecutor")
    for text in ("fancy", "FancyExecutor", "Fancy", "entry_point_plugin.Fancy"):
        assert lookup(names, text) is names[1]
    with pytest.raises(UnknownExecutorError, match="did you mean FancyExecutor?"):
        lookup(names, "FancyExecuter")


def test_built_in_and_dotted_targets_never_look(monkeypatch: pytest.MonkeyPatch):
    def look() -> Mapping[str, tuple[str, ...]]:
        raise AssertionError("the metadata of all distributions was read")

    assert len(parse_executors("LocalExecutor, a:LocalExecutor, my.mod.Fast, b:my.mod.Fast", look)) == 4


def test_names_are_read_without_the_metadata_library():
    """``importlib.metadata`` is not imported where nobody needs it."""
    code = (
        "import sys; before = 'importlib.metadata' in sys.modules\n"
        "from executors.names import parse_executors; parse_executors('LocalExecutor, my.mod.Fast')\n"
        "sys.exit('importlib.metadata' in sys.modules and not before)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3]).returncode == 0


def test_extras_of_an_entry_point_are_no_part_of_its_path(install: Install):
    install("fancy", {"FancyExecutor": "entry_point_plugin:Fancy [redis]"})
    assert installed_executors()["FancyExecutor"] == ("entry_point_plugin.Fancy",)


def test_one_class_offered_by_two_distributions_is_one(install: Install):
    install("one", {"FancyExecutor": "entry_point_plugin:Fancy"})
    install("two", {"FancyExecutor": "entry_point_plugin:Fancy"})
    assert load("FancyExecutor").default.cls.__name__ == "Fancy"


BOTH = {"FancyExecutor": ("a.b.Fancy", "c.d.Fancy")}
BAD = {
    "two classes of one name": (
        "FancyExecutor",
        "the entry point 'FancyExecutor' is offered more than once; write the dotted path of one: a.b.Fancy, c.d.Fancy",
        BOTH,
    ),
    "no module:Class": ("Odd", "the entry point 'Odd' is no module:Class: justamodule", {"Odd": ("justamodule",)}),
    "misspelt": (
        "FancyExecuter",
        "neither a built-in executor nor a dotted module.path.Class; did you mean FancyExecutor? (built in: "
        "LocalExecutor, SequentialExecutor, CeleryExecutor, KubernetesExecutor; entry points: FancyExecutor)",
        BOTH,
    ),
}


@pytest.mark.parametrize(("target", "reason", "plugins"), BAD.values(), ids=BAD)
def test_bad_entry_point(target: str, reason: str, plugins: Mapping[str, tuple[str, ...]]):
    with pytest.raises(ExecutorConfigError) as caught:
        parse_executors(f"LocalExecutor, {target}", lambda: plugins)
    assert str(caught.value) == f"[core] executor, entry 2 '{target}': {reason}"


def test_same_class_by_entry_point_and_by_path_needs_an_alias(install: Install):
    install("fancy", {"FancyExecutor": "entry_point_plugin:Fancy"})
    with pytest.raises(ExecutorConfigError, match="the same executor as entry 1 'FancyExecutor'"):
        parse_executors("FancyExecutor, entry_point_plugin.Fancy")


def test_alias_must_not_be_the_target_of_another(install: Install):
    install("fancy", {"FancyExecutor": "entry_point_plugin:Fancy"})
    with pytest.raises(ExecutorConfigError, match="'FancyExecutor' would mean this or entry 1"):
        parse_executors("a:FancyExecutor, FancyExecutor:LocalExecutor")


def test_entry_point_whose_module_is_missing_is_one_line(install: Install):
    install("fancy", {"GoneExecutor": "entry_point_gone:Gone"})
    with pytest.raises(ExecutorLoadError) as caught:
        load("GoneExecutor")
    assert str(caught.value) == (
        "[core] executor, entry 1 'GoneExecutor': there is no module entry_point_gone; is it installed, and on "
        "PYTHONPATH?"
    )
