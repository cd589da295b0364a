"""Where settings come from, which source wins, and what they are when nobody says anything."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from runtime.config import load
from runtime.config.options import SECTIONS
from runtime.core.errors import ConfigError


def write(home: Path, text: str) -> Path:
    file = home / "hybrid.cfg"
    file.write_text(text)
    return file


def test_defaults_need_no_file(tmp_path):
    settings = load(tmp_path / "none", env={})
    assert settings.core.executor == "LocalExecutor"
    assert settings.core.parallelism == 32
    assert settings.core.dags_folder == tmp_path / "none" / "dags"
    assert settings.database.sql_alchemy_conn == f"sqlite:///{tmp_path}/none/hybrid.db"
    assert settings.core.default_task_execution_timeout is None
    assert settings.scheduler.catchup_by_default is False
    assert settings.warnings == ()


def test_home_comes_from_the_environment_then_from_the_user(tmp_path):
    assert load(env={"HYBRID_HOME": str(tmp_path)}).home == tmp_path
    assert load(env={}).home == Path("~/hybrid").expanduser()


def test_another_file_can_be_named(tmp_path):
    file = tmp_path / "elsewhere.cfg"
    file.write_text("[core]\nparallelism = 5\n")
    assert load(tmp_path / "home", env={"HYBRID_CONFIG": str(file)}).core.parallelism == 5


def test_environment_wins_over_command_over_file_over_file_command_over_default(tmp_path):
    layers = [
        ({"HYBRID__CORE__PARALLELISM": "1"}, "", 1),
        ({"HYBRID__CORE__PARALLELISM_CMD": "echo 2"}, "", 2),
        ({}, "parallelism = 3\n", 3),
        ({}, "parallelism_cmd = echo 4\n", 4),
    ]
    env: dict[str, str] = {}
    body = ""
    for more_env, more_body, expected in reversed(layers):
        env = {**more_env, **env}
        body += more_body
        write(tmp_path, f"[core]\n{body}")
        assert load(tmp_path, env=env).core.parallelism == expected


def test_environment_value_that_is_empty_wins_too(tmp_path):
    write(tmp_path, "[core]\ndefault_task_execution_timeout = 7\n")
    assert load(tmp_path, env={}).core.default_task_execution_timeout == 7
    env = {"HYBRID__CORE__DEFAULT_TASK_EXECUTION_TIMEOUT": ""}
    assert load(tmp_path, env=env).core.default_task_execution_timeout is None


def test_a_value_may_hold_percent_and_equal_signs(tmp_path):
    write(tmp_path, "[operators]\ndefault_queue = a%b=c\n")
    assert load(tmp_path, env={}).operators.default_queue == "a%b=c"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_psycopg_3(tmp_path, scheme):
    env = {"HYBRID__DATABASE__SQL_ALCHEMY_CONN": f"{scheme}://me:pw@db/hybrid"}
    assert load(tmp_path, env=env).database.sql_alchemy_conn == "postgresql+psycopg://me:pw@db/hybrid"


def test_paths_expand_home_and_user(tmp_path):
    write(tmp_path, "[core]\ndags_folder = $HYBRID_HOME/a/dags\nplugins_folder = ~/plugins\n")
    core = load(tmp_path, env={}).core
    assert core.dags_folder == tmp_path / "a" / "dags"
    assert core.plugins_folder == Path("~/plugins").expanduser()


def test_unknown_option_is_a_warning_that_suggests(tmp_path):
    write(tmp_path, "[core]\n\nexecutr = LocalExecutor\n")
    settings = load(tmp_path, env={"HYBRID__SCHEDULER__LEASE_SECOND": "3"})
    assert settings.warnings == (
        f"{tmp_path}/hybrid.cfg:3: no option 'executr' in [core]; did you mean executor?",
        "HYBRID__SCHEDULER__LEASE_SECOND: no option 'lease_second' in [scheduler]; did you mean lease_seconds?",
    )


def test_misspelt_section_is_a_warning_and_a_strange_one_is_not(tmp_path):
    write(tmp_path, "[schedular]\nx = 1\n[webserver]\ny = 1\n")
    assert load(tmp_path, env={}).warnings == (
        f"{tmp_path}/hybrid.cfg: no section [schedular]; did you mean scheduler?",
    )


def test_settings_are_frozen_and_survive_pickle(tmp_path):
    settings = load(tmp_path, env={})
    with pytest.raises(AttributeError):
        settings.core.parallelism = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


BAD = [
    ("core", "parallelism", "many", "a whole number"),
    ("core", "parallelism", "-1", "at least 0"),
    ("core", "missing_executor", "drop", "one of hold, reroute, fail"),
    ("core", "dags_are_paused_at_creation", "maybe", "True or False"),
    ("core", "default_timezone", "Mars/Base", "a time zone such as utc or Europe/Amsterdam"),
    ("core", "dags_folder", "dags", "an absolute path (`~` and `$HYBRID_HOME` are expanded)"),
    ("core", "default_task_execution_timeout", "0", "a number above 0, or nothing for no limit"),
    ("scheduler", "lease_seconds", "nan", "a finite number"),
    ("logging", "logging_level", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
]


@pytest.mark.parametrize(("section", "key", "value", "expected"), BAD)
def test_bad_value_names_section_option_line_value_and_what_was_expected(tmp_path, section, key, value, expected):
    write(tmp_path, f"[{section}]\n{key} = {value}\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, env={})
    assert str(error.value) == f"[{section}] {key} = {value!r} ({tmp_path}/hybrid.cfg:2): expected {expected}"


def test_bad_value_in_the_environment_names_the_variable(tmp_path):
    with pytest.raises(ConfigError, match=r"^\[core\] parallelism = 'x' \(HYBRID__CORE__PARALLELISM\): expected"):
        load(tmp_path, env={"HYBRID__CORE__PARALLELISM": "x"})


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///here.db", "sqlite:///:memory:", "mysql://a:secret@b/c", ""])
def test_unusable_database_is_refused_without_its_password(tmp_path, url):
    with pytest.raises(ConfigError, match="expected sqlite:////absolute/path") as error:
        load(tmp_path, env={"HYBRID__DATABASE__SQL_ALCHEMY_CONN": url})
    assert "secret" not in str(error.value)


def test_heartbeat_must_fit_into_its_timeout(tmp_path):
    with pytest.raises(ConfigError, match="task_heartbeat_sec = 10 must be less than"):
        load(tmp_path, env={"HYBRID__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15"})


SYNTAX = [
    ("parallelism = 1\n", ":1: an option before the first [section]"),
    ("[core]\nnonsense\n", ":2: expected `option = value` or [section]"),
    ("[core]\na = 1\nA = 2\n", ":3: option 'a' stands twice in [core]; keep one"),
    ("[core]\n[core]\n", ":2: section [core] stands twice; join them"),
]


@pytest.mark.parametrize(("text", "message"), SYNTAX)
def test_file_that_is_no_ini_names_the_line(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(tmp_path, env={})
    assert str(error.value) == f"{file}{message}"


def test_unreadable_file_is_one_line(tmp_path):
    (tmp_path / "hybrid.cfg").mkdir()
    with pytest.raises(ConfigError, match=r"hybrid\.cfg cannot be read"):
        load(tmp_path, env={})
    (tmp_path / "hybrid.cfg").rmdir()
    (tmp_path / "hybrid.cfg").write_bytes(b"[core]\nexecutor = \xff\n")
    with pytest.raises(ConfigError, match=r"hybrid\.cfg cannot be read"):
        load(tmp_path, env={})


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/program", "did not run"),
        ("sh -c 'echo hunter2; echo broken >&2; exit 3'", "exited with 3: broken"),
        ("'", "did not run: No closing quotation"),
        ("", "did not run"),
    ],
)
def test_failing_command_says_why_but_not_what_it_printed(tmp_path, command, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        load(tmp_path, env={"HYBRID__CORE__EXECUTOR_CMD": command})
    assert str(error.value).startswith("HYBRID__CORE__EXECUTOR_CMD: command")
    assert "hunter2\n" not in str(error.value)


def test_secret_says_that_there_is_no_backend(tmp_path):
    with pytest.raises(ConfigError, match="HYBRID__CORE__EXECUTOR_SECRET: no secrets backend is configured"):
        load(tmp_path, env={"HYBRID__CORE__EXECUTOR_SECRET": "path"})
    write(tmp_path, "[core]\nexecutor_secret = path\n")
    with pytest.raises(ConfigError, match=r"hybrid\.cfg:2: no secrets backend is configured"):
        load(tmp_path, env={})


def test_items_list_every_declared_option_with_its_source(tmp_path):
    write(tmp_path, "[core]\nparallelism = 7\n")
    items = {(item.section, item.key): item for item in load(tmp_path, env={"HYBRID__CORE__EXECUTOR": "x"}).items()}
    assert len(items) == sum(len(cls.__dataclass_fields__) for cls in SECTIONS.values())
    assert items["core", "parallelism"].value == "7"
    assert items["core", "parallelism"].source == f"{tmp_path}/hybrid.cfg:2"
    assert items["core", "executor"].source == "HYBRID__CORE__EXECUTOR"
    assert items["core", "dags_folder"].source == "default"


def test_items_hide_passwords_unless_asked(tmp_path):
    write(tmp_path, "[celery]\nbroker_url = redis://:pa:ss@h/0\nflower_basic_auth = user:pw\n")
    settings = load(tmp_path, env={"HYBRID__DATABASE__SQL_ALCHEMY_CONN": "postgresql://me:pw@db/x"})
    shown = {item.key: item.value for item in settings.items()}
    assert shown["sql_alchemy_conn"] == "postgresql+psycopg://me:***@db/x"
    assert shown["broker_url"] == "redis://:***@h/0"
    assert shown["flower_basic_auth"] == "***"
    assert {item.key: item.value for item in settings.items(show_sensitive=True)}["flower_basic_auth"] == "user:pw"


def test_repr_holds_no_password_of_an_executor(tmp_path):
    write(tmp_path, "[celery]\nbroker_url = redis://:hunter2@h/0\n")
    assert "hunter2" not in repr(load(tmp_path, env={}))
