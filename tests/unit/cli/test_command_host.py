"""What a command that an executor brought along is given."""

from __future__ import annotations

import json
import os
from argparse import Namespace

import pytest

from executors.celery.executor import CeleryExecutor
from executors.cli import ActionCommand
from runtime.cli.command import UsageError
from runtime.cli.command_host import CommandHost
from runtime.config import load
from runtime.config.executors import load_registry

CONFIG = """
[core]
executor = LocalExecutor, west:CeleryExecutor, east:CeleryExecutor
[operators]
default_queue = work
[celery]
broker_url = redis://both
[celery:east]
broker_url = redis://east
default_queue = heavy
[celery_broker_transport_options]
visibility_timeout = 60
socket_timeout = 2
[celery_broker_transport_options:east]
visibility_timeout = 70
[celery_result_backend_transport_options]
global_keyprefix = r
"""


@pytest.fixture
def host(home) -> CommandHost:
    (home / "hybrid.cfg").write_text(CONFIG)
    settings = load()
    return CommandHost(settings, [entry for entry in load_registry(settings) if entry.cls is CeleryExecutor])


def given(host: CommandHost, **args: object) -> Namespace:
    seen: list[Namespace] = []
    assert host.run(ActionCommand("do", "does", seen.append), Namespace(**args)) is None
    return seen[0]


def test_contexts_of_all_instances_with_their_own_sections(host, home):
    contexts = given(host).contexts
    assert list(contexts) == ["west", "east"]
    west, east = contexts["west"], contexts["east"]
    assert (west.name, west.options["broker_url"], east.options["broker_url"]) == (
        "west",
        "redis://both",
        "redis://east",
    )
    assert (west.options["default_queue"], east.options["default_queue"]) == ("work", "heavy")
    assert west.remote_worker_entry == "runtime.worker.remote_process:start_worker"
    assert west.worker_config["home"] == str(home)
    assert west.worker_config["task_api_url"].endswith("/execution/v1")


def test_transport_sections_are_in_the_options_overlaid_by_alias(host):
    contexts = given(host).contexts
    found = {
        name: {key: value for key, value in context.options.items() if "transport_options." in key}
        for name, context in contexts.items()
    }
    both = {"broker_transport_options.socket_timeout": "2", "result_backend_transport_options.global_keyprefix": "r"}
    assert found == {
        "west": {**both, "broker_transport_options.visibility_timeout": "60"},
        "east": {**both, "broker_transport_options.visibility_timeout": "70"},
    }


def test_executor_of_the_scheduler_has_them_too(host, home):
    """The same registry makes it."""
    registry = load_registry(load())
    east = registry.get("east")
    assert east is not None
    assert east.options["broker_transport_options.visibility_timeout"] == "70"


def test_records_are_printed_as_asked(host, capsys):
    args = given(host, output="json")
    args.emit([{"a": 1, "b": 2}], ["a"])
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "b": 2}]
    args = given(host)
    args.emit([{"a": "x", "b": 2}], ["a"])
    assert "x" in capsys.readouterr().out


def test_question_needs_an_answer_or_a_yes(host):
    given(host, yes=True).confirm("Really?")
    with pytest.raises(UsageError, match="pass -y"):
        given(host, yes=False).confirm("Really?")


def test_worker_keeps_its_executors_options_from_the_environment_of_tasks(home, monkeypatch):
    """It has read them; a broker's password is no business of a task's."""
    secrets = ("CELERY__BROKER_URL", "CELERY__EAST__BROKER_URL", "CELERY_BROKER_TRANSPORT_OPTIONS__SENTINEL_KWARGS")
    for name in (*secrets, "API_AUTH__JWT_SECRET"):
        monkeypatch.setenv(f"HYBRID__{name}", "redis://:word@host")
    (home / "hybrid.cfg").write_text(CONFIG)
    settings = load()
    host = CommandHost(settings, [entry for entry in load_registry(settings) if entry.cls is CeleryExecutor])
    seen: list[tuple[str, bool]] = []

    def work(args: Namespace) -> None:
        seen.append((args.contexts["east"].options["broker_url"], "word" in str(os.environ)))

    host.run(ActionCommand("work", "works", work, is_worker=True), Namespace())
    assert seen == [("redis://:word@host", False)]
