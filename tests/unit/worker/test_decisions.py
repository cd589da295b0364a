"""What a supervisor decides, and how settings are read: no process needed."""

from __future__ import annotations

import pytest

from runtime.core.errors import ConfigError
from runtime.worker.protocol import Result
from runtime.worker.settings import read_settings
from runtime.worker.supervisor import describe_death, verdict

NEEDED = {"dags_folder": "/d", "base_log_folder": "/l"}


@pytest.mark.parametrize(
    ("result", "code", "stopped", "expected"),
    [
        (Result("success"), 0, None, ("success", "")),
        (Result("success"), 0, "by hand", ("success", "")),
        (Result("skipped", "no"), 0, "by hand", ("skipped", "no")),
        (Result("failed", "its own"), 0, None, ("failed", "its own")),
        (Result("failed", "got SIGTERM"), 0, "by hand", ("failed", "by hand")),
        (None, -9, "by hand", ("failed", "by hand")),
        (None, -9, None, ("failed", "killed by SIGKILL (out of memory?)")),
        (None, 0, None, ("failed", "exited with code 0 before it reported")),
    ],
)
def test_the_verdict(result, code, stopped, expected):
    """A process that ended without a word never succeeded; success stands even when the order to stop came late."""
    decided = verdict(result, code, stopped, 7.0)
    assert (decided.outcome, decided.reason) == expected
    assert result is not None or decided.retry_delay == 7.0


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exited with code 3 before it reported"), (-11, "killed by SIGSEGV"), (-63, "killed by signal 63")],
)
def test_deaths_in_words(code, words):
    assert describe_death(code) == words


def test_settings_have_defaults_and_take_text():
    settings = read_settings({**NEEDED, "heartbeat_sec": "0.5", "max_files": "2", "defaults": '{"retry_delay": 3}'})
    assert (settings.heartbeat_sec, settings.max_files, settings.task_isolation) == (0.5, 2, "fork")
    assert settings.defaults.retry_delay == 3
    assert settings.killed_task_cleanup_time == 60


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dags_folder": "/d"}, "worker: option base_log_folder is not set"),
        (
            {**NEEDED, "task_isolation": "thread"},
            "worker: option task_isolation = 'thread' is none of fork, spawn, reuse",
        ),
        ({**NEEDED, "on_version_mismatch": ""}, "worker: option on_version_mismatch = '' is none of run, fail"),
        (
            {**NEEDED, "log_level": "LOUD"},
            "worker: option log_level = 'LOUD' is none of CRITICAL, FATAL, ERROR, WARN, WARNING, INFO, DEBUG, NOTSET",
        ),
        ({**NEEDED, "max_files": "many"}, "worker: Expected `int`, got `str` - at `$.max_files`"),
        ({**NEEDED, "defaults": "{"}, "worker: Input data was truncated"),
    ],
)
def test_bad_settings_are_one_line(config, message):
    with pytest.raises(ConfigError) as caught:
        read_settings(config)
    assert str(caught.value) == message
