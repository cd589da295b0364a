"""``docs/executors.md`` shows what is tested: its code is that of the files that the contract runs on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tutorial

from executors import base, cli
from executors.base import BaseExecutor
from executors.callbacks import CallbackRequest
from executors.names import parse_executors
from executors.registry import ExecutorRegistry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "executors.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_page_holds_the_tutorial_file_as_it_is():
    assert (ROOT / "docs" / "tutorial.py").read_text() in BLOCKS


def test_tutorial_needs_the_package_executors_only():
    """Not even the runtime that it runs under."""
    code = "import sys, tutorial; sys.exit(any(name.partition('.')[0] == 'runtime' for name in sys.modules))"
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'docs'}"}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0


def test_configured_as_the_page_says_it_loads():
    (value,) = re.findall(r"^executor = (.*)$", PAGE, re.MULTILINE)[:1]
    registry = ExecutorRegistry.load(value, options=lambda _section, _alias: {"parallelism": "8"}, parallelism=32)
    entry = registry.lookup("mine")
    assert (entry.cls, entry.parallelism) == (tutorial.MyExecutor, 8)


def test_test_file_on_the_page_passes(tmp_path: Path):
    """The tests of the contract, run as a third party runs them."""
    (block,) = [block for block in BLOCKS if "ExecutorContract" in block]
    (tmp_path / "test_mine.py").write_text(block)
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'docs'}", "PATH": "/usr/bin:/bin"}
    words = ["-q", "-p", "no:cacheprovider", "-k", "slots or succeeds or revoked_running", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=path, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_commands_on_the_page_are_commands():
    (block,) = [block for block in BLOCKS if "get_cli_commands" in block]
    names: dict[str, object] = vars(cli).copy()
    exec(block.replace("@staticmethod\n", ""), names)
    (group,) = names["get_cli_commands"]()  # type: ignore[operator]
    assert isinstance(group, cli.GroupCommand)
    assert [command.name for command in group.subcommands] == ["wake"]


def test_every_attribute_is_explained():
    own = [name for name, value in vars(BaseExecutor).items() if isinstance(value, bool | None) and name[0] != "_"]
    assert {"is_local", "conf_section"} <= set(own)
    assert [name for name in own if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize(
    "name", [name for name, value in vars(BaseExecutor).items() if callable(value) and name[0] != "_"]
)
def test_every_method_that_somebody_may_override_or_call_is_mentioned(name: str):
    inherited = {"debug_dump", "has_task", "heartbeat", "order_queued_tasks", "queue_command", "queue_workload",
                 "trigger_tasks", "get_event_buffer"}  # fmt: skip
    assert name in inherited or name in PAGE


def test_kinds_of_callbacks_are_those_of_the_class():
    assert all(f"`{kind}`" in PAGE or f'"{kind}"' in PAGE for kind in CallbackRequest.KINDS)


def test_launches_are_tried_as_often_as_the_page_says():
    assert base.LAUNCH_ATTEMPTS == 5
    assert "five times in all" in PAGE


def test_lists_on_the_page_are_lists():
    parse_executors("east:tutorial.MyExecutor, west:tutorial.MyExecutor")
