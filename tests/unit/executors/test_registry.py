"""Loading the configured executors and making one; what cannot be loaded is in ``tests/bad_input``."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.errors import UnknownExecutorError
from executors.registry import ExecutorRegistry
from executors.testing import ScriptedExecutor

SCRIPTED = "executors.testing.ScriptedExecutor"


class OldExecutor(BaseExecutor):
    """Written for Airflow 2: knows of no context."""

    def __init__(self, parallelism=7):
        super().__init__(parallelism=parallelism)


class OldestExecutor(BaseExecutor):
    """Its constructor takes nothing at all."""

    def __init__(self):
        super().__init__()


class OpenExecutor(BaseExecutor):
    """Passes on whatever it gets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def options(section: str, alias: str | None) -> Mapping[str, str]:
    """As the configuration gives them: the section, overlaid with the alias's own."""
    own = {None: {"hang_sec": "1"}, "few": {"parallelism": " 2 "}, "blank": {"parallelism": ""}}
    return {"section": section, **own.get(alias, {})}


def load(value: str) -> ExecutorRegistry:
    return ExecutorRegistry.load(value, options=options, parallelism=32)


def test_order_default_and_lookup():
    registry = load(f"few:{SCRIPTED}, LocalExecutor, more:{SCRIPTED}")
    assert [entry.name.name for entry in registry] == ["few", "LocalExecutor", "more"]
    assert len(registry) == 3
    assert registry.default is registry.get("few")
    assert registry.lookup("LocalExecutor") is registry.get("LocalExecutor")
    assert registry.get("nobody") is None
    with pytest.raises(UnknownExecutorError, match="ambiguous: few, more"):
        registry.lookup("ScriptedExecutor")


def test_each_entry_has_its_own_parallelism_and_options():
    registry = load(f"few:{SCRIPTED}, {SCRIPTED}, blank:{SCRIPTED}, tests_old:{__name__}.OldExecutor")
    assert [entry.parallelism for entry in registry] == [2, 32, 32, 32]
    assert dict(registry.default.options) == {"section": "scripted_executor", "parallelism": " 2 "}
    assert dict(registry.lookup("tests_old").options) == {}, "a class without conf_section has no options"


def test_single_threaded_class_has_one_slot():
    assert load("SequentialExecutor, few:SequentialExecutor").default.parallelism == 1


def test_options_stay_out_of_repr():
    assert "scripted_executor" not in repr(load(SCRIPTED).default)


def test_created_executor_knows_its_name_slots_and_options():
    registry = load(f"few:{SCRIPTED}")
    made = registry.create("few", ExecutorContext(worker_entry="module:function"))
    assert isinstance(made, ScriptedExecutor)
    assert (made.name, made.parallelism) == ("few", 2)
    assert made.context.options["section"] == "scripted_executor"
    assert made.context.worker_entry == "module:function"


@pytest.mark.parametrize("cls", ["OldExecutor", "OldestExecutor", "OpenExecutor"])
def test_executor_written_before_there_was_a_context_gets_one(cls: str):
    registry = load(f"mine:{__name__}.{cls}")
    context = ExecutorContext(worker_entry="module:function")
    made = registry.create("mine", context)
    assert (made.name, made.parallelism, made.context.worker_entry) == ("mine", 32, "module:function")
    assert made.log is logging.getLogger("executors.mine")


def test_classes_not_meant_for_production_are_warned_of():
    assert load(f"LocalExecutor, few:{SCRIPTED}, SequentialExecutor").warnings == [
        "executor few: ScriptedExecutor is not meant for production",
        "executor SequentialExecutor: SequentialExecutor is not meant for production",
    ]


def test_every_instance_of_a_class_is_its_own():
    registry = load(f"a:{SCRIPTED}, b:{SCRIPTED}")
    assert registry.create("a", ExecutorContext()) is not registry.create("a", ExecutorContext())
    assert registry.create("b", ExecutorContext()).name == "b"
