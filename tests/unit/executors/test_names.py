"""The grammar of ``[core] executor`` and the lookup of names; the bad lists are in ``tests/bad_input``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import ExecutorConfigError, UnknownExecutorError
from executors.names import (
    ALIAS_LENGTH,
    BUILTINS,
    COMPOSITES,
    ExecutorName,
    check_executor_field,
    composites,
    did_you_mean,
    lookup,
    parse_executors,
    section_key,
)

aliases = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True).filter(
    lambda alias: "__" not in section_key(alias) and alias not in BUILTINS and alias not in COMPOSITES
)
classes = st.from_regex(r"m[a-z]{0,5}(\.p[a-z]{0,5}){0,2}\.Q[A-Za-z]{0,6}", fullmatch=True)
targets = st.sampled_from(sorted(BUILTINS)) | classes
spaces = st.text(" \t\n", max_size=3)
aliased = st.lists(st.tuples(aliases, targets), min_size=1, max_size=6, unique_by=lambda pair: section_key(pair[0]))


def names(value: str) -> list[str]:
    return [name.name for name in parse_executors(value)]


def test_first_entry_is_the_default_and_order_is_kept():
    assert names("SequentialExecutor, heavy:LocalExecutor,my.mod.Fast") == [
        "SequentialExecutor",
        "heavy",
        "my.mod.Fast",
    ]


def test_an_entry_knows_all_its_forms():
    heavy, fast = parse_executors(" heavy : LocalExecutor , my.mod.Fast ")
    assert heavy == ExecutorName("heavy", "heavy", "LocalExecutor", "executors.local.executor.LocalExecutor", 1)
    assert (heavy.path, heavy.entry, str(heavy)) == (
        "executors.local.executor.LocalExecutor", "heavy:LocalExecutor", "heavy",
    )  # fmt: skip
    assert fast == ExecutorName("my.mod.Fast", None, "my.mod.Fast", "my.mod.Fast", 2)
    assert (fast.path, fast.entry) == ("my.mod.Fast", "my.mod.Fast")


def test_one_class_under_two_aliases_is_legal():
    assert names("east:CeleryExecutor, west:CeleryExecutor, CeleryExecutor") == ["east", "west", "CeleryExecutor"]


def test_an_alias_may_repeat_the_name_of_its_own_class():
    assert names("LocalExecutor:LocalExecutor, my_mod:my.mod.X, X:my.mod.X") == ["LocalExecutor", "my_mod", "X"]


def test_longest_alias_is_legal():
    assert names(f"{'x' * ALIAS_LENGTH}:LocalExecutor") == ["x" * ALIAS_LENGTH]


@pytest.mark.parametrize(("alias", "key"), [("east", "EAST"), ("East-1", "EAST_1"), ("a_b", "A_B")])
def test_alias_in_environment_variables(alias: str, key: str):
    assert section_key(alias) == key


@given(pairs=aliased, data=st.data())
def test_every_list_that_the_grammar_describes_is_read_back(pairs: list[tuple[str, str]], data: st.DataObject):
    """Any spaces around any part; names, targets and positions are those written."""
    pad = [data.draw(spaces) for _ in range(4)]
    value = ",".join(f"{pad[0]}{alias}{pad[1]}:{pad[2]}{target}{pad[3]}" for alias, target in pairs)
    try:
        parsed = parse_executors(value)
    except ExecutorConfigError as error:
        assert "one by its alias, one by its class" in str(error)  # noqa: PT017  the one rule that a grammar cannot say
        return
    assert [(name.alias, name.target) for name in parsed] == pairs
    assert [name.position for name in parsed] == list(range(1, len(pairs) + 1))
    assert parse_executors(",".join(name.entry for name in parsed)) == parsed
    assert [lookup(parsed, alias) for alias, _ in pairs] == list(parsed)


@given(st.text(max_size=60) | st.text("aAB:,._- LocalExecutor1", max_size=40))
def test_any_text_is_read_or_refused_in_one_line(value: str):
    try:
        parsed = parse_executors(value, plugins=dict)
    except ExecutorConfigError as error:
        text = str(error)
        assert text.startswith("[core] executor")
        assert text.isprintable()
        assert len(text) < 1000
    else:
        assert len({name.name for name in parsed}) == len(parsed) > 0
        keys = [section_key(name.alias) for name in parsed if name.alias]
        assert len(set(keys)) == len(keys)


LIST = parse_executors("LocalExecutor, heavy:LocalExecutor, east:CeleryExecutor, west:CeleryExecutor, my.mod.Fast")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("LocalExecutor", "LocalExecutor"),
        ("heavy", "heavy"),
        ("my.mod.Fast", "my.mod.Fast"),
        ("Fast", "my.mod.Fast"),
    ],
    ids=["name before class", "alias", "dotted path", "class name"],
)
def test_lookup(text: str, name: str):
    assert lookup(LIST, text).name == name


def test_lookup_of_a_built_in_by_its_dotted_path():
    assert lookup(parse_executors("x:LocalExecutor"), "executors.local.executor.LocalExecutor").name == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CeleryExecutor", "executor 'CeleryExecutor' is ambiguous: east, west are of this class; use one name"),
        ("executors.local.executor.LocalExecutor", "is ambiguous: LocalExecutor, heavy are of this class"),
        ("Heavy", "unknown executor 'Heavy'; did you mean heavy? (configured: LocalExecutor, heavy, east, west, "),
        ("localexecutor", "unknown executor 'localexecutor'; did you mean LocalExecutor? (configured: "),
        (
            "KubernetesExecutor",
            "unknown executor 'KubernetesExecutor'; add it to [core] executor to use it (configured",
        ),
        ("zzz", "unknown executor 'zzz' (configured: LocalExecutor, heavy, east, west, my.mod.Fast)"),
        (" heavy", "unknown executor ' heavy'; did you mean heavy?"),
    ],
)
def test_lookup_that_finds_none_or_several_lists_the_choices(text: str, message: str):
    with pytest.raises(UnknownExecutorError) as caught:
        lookup(LIST, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "executor= is empty; leave it out for the default (configured: LocalExecutor, "),
        ("  ", "executor= is empty; leave it out for the default (configured: "),
        (None, "executor= takes one name as a string, not NoneType (configured: "),
        (["heavy"], "executor= takes one name as a string, not list (configured: "),
        (3, "executor= takes one name as a string, not int (configured: "),
        ("havy", "unknown executor 'havy'; did you mean heavy? (configured: "),
    ],
)
def test_executor_field_of_a_task_that_means_nothing(value: object, message: str):
    with pytest.raises(UnknownExecutorError) as caught:
        check_executor_field(LIST, value)
    assert str(caught.value).startswith(message)


def test_executor_field_of_a_task():
    assert check_executor_field(LIST, "heavy") is LIST[1]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("LOCALEXECUTOR", "; did you mean LocalExecutor?"),
        ("celery", "; did you mean CeleryExecutor?"),
        ("", ""),
        ("q", ""),
    ],
)
def test_did_you_mean(text: str, advice: str):
    assert did_you_mean(text, BUILTINS) == advice


@given(st.text(), st.lists(st.text(), max_size=5))
def test_did_you_mean_never_fails(text: str, choices: list[str]):
    assert isinstance(did_you_mean(text, choices), str)


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_stands_for_its_two_executors(name: str) -> None:
    assert [entry.name for entry in parse_executors(f" {name} ")] == list(COMPOSITES[name].executors)
    assert composites(f"{name}, x:LocalExecutor") == [name]
