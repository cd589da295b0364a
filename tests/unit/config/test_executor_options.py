"""Options of executors: free-form sections, laid over each other by alias."""

from __future__ import annotations

import pytest

from runtime.config import load
from runtime.core.errors import ConfigError

FILE = """
[local_executor]
parallelism = 8
task_isolation = fork

[local_executor:heavy]
parallelism = 2

[local_executor:big-box]
parallelism = 3
"""


@pytest.fixture
def options(tmp_path):
    (tmp_path / "hybrid.cfg").write_text(FILE)
    return lambda section, alias=None, **env: load(tmp_path, env=env).executor_options(section, alias)


def test_alias_section_overlays_the_section(options):
    assert options("local_executor") == {"parallelism": "8", "task_isolation": "fork"}
    assert options("local_executor", "heavy") == {"parallelism": "2", "task_isolation": "fork"}


def test_environment_wins_over_the_file_at_the_same_place(options):
    assert options("local_executor", HYBRID__LOCAL_EXECUTOR__PARALLELISM="9")["parallelism"] == "9"
    assert options("local_executor", "heavy", HYBRID__LOCAL_EXECUTOR__HEAVY__PARALLELISM="1")["parallelism"] == "1"


def test_what_is_said_of_the_alias_wins_over_what_is_said_of_the_class(options):
    """A variable for all brokers must not pull two aliases onto one."""
    assert options("local_executor", "heavy", HYBRID__LOCAL_EXECUTOR__PARALLELISM="9")["parallelism"] == "2"


def test_variable_of_one_alias_reaches_no_other(options):
    env = {"HYBRID__LOCAL_EXECUTOR__HEAVY__TASK_ISOLATION": "reuse"}
    assert options("local_executor", **env)["task_isolation"] == "fork"
    assert options("local_executor", "light", **env)["task_isolation"] == "fork"
    assert options("local_executor", "heavy", **env)["task_isolation"] == "reuse"


def test_options_and_aliases_may_hold_underscores(options):
    env = {
        "HYBRID__LOCAL_EXECUTOR__WORKER_MEMORY_MB": "100",
        "HYBRID__LOCAL_EXECUTOR__BIG_BOX__IDLE_WORKER_SECONDS": "5",
        "HYBRID__LOCAL_EXECUTOR__HEAVY___X": "of the alias heavy_",
    }
    assert options("local_executor", "big-box", **env) == {
        "parallelism": "3",
        "task_isolation": "fork",
        "worker_memory_mb": "100",
        "idle_worker_seconds": "5",
    }
    assert options("local_executor", "heavy_", **env)["x"] == "of the alias heavy_"
    assert "_x" not in options("local_executor", "heavy", **env)


def test_command_gives_a_value_unless_there_is_one(options):
    env = {"HYBRID__CELERY__BROKER_URL_CMD": "echo redis://:pw@h"}
    assert options("celery", **env) == {"broker_url": "redis://:pw@h"}
    assert options("celery", **env, HYBRID__CELERY__BROKER_URL="amqp://")["broker_url"] == "amqp://"


def test_failing_command_names_its_variable(options):
    with pytest.raises(ConfigError, match="HYBRID__CELERY__BROKER_URL_CMD: command 'false' exited with 1"):
        options("celery", HYBRID__CELERY__BROKER_URL_CMD="false")


def test_section_that_nobody_wrote_is_empty(options):
    assert options("batch", "east") == {}
