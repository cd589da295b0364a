"""What of the settings is open to others, and what is not said of those that are not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from executors.exposure import is_loopback, others_may_read
from runtime.config import load
from runtime.config.exposure import exposures


@pytest.fixture
def reachable():
    """A home that everybody may enter, as they may the folders above it; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        home = Path(base, "home")
        home.mkdir()
        for folder in (Path(base), home):
            folder.chmod(0o711)
        yield home


def told(home: Path, **env: str) -> list[tuple[str, str]]:
    settings = load(home, env={f"HYBRID__{name.upper()}": value for name, value in env.items()})
    return [(str(each.severity), each.text) for each in exposures(settings)]


def write(path: Path, mode: int, text: str = "x") -> None:
    path.write_text(text)
    path.chmod(mode)


def test_a_home_as_it_is_made_is_not_open(home):
    write(home / "jwt.key", 0o600)
    write(home / "hybrid.db", 0o600)
    assert told(home) == []


@pytest.mark.parametrize("name", ["jwt.key", "hybrid.db"])
def test_a_secret_file_that_everybody_reads_is_an_error(reachable, name):
    write(reachable / name, 0o604)
    ((severity, text),) = told(reachable)
    assert severity == "error"
    assert text.endswith(f"chmod 600 {reachable / name}")
    write(reachable / name, 0o640)
    assert told(reachable) == []


def test_a_closed_folder_above_protects_its_files(reachable):
    write(reachable / "jwt.key", 0o644)
    reachable.chmod(0o700)
    assert told(reachable) == []


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("[celery]\nbroker_url = redis://:pass@127.0.0.1/0\n", True),
        ("[api_auth]\njwt_secret = " + "s" * 40 + "\n", True),
        ("[celery]\nflower_basic_auth = a:b\n", True),
        ("[api_auth]\njwt_secret_cmd = cat /run/key\n", False),
        ("[celery]\nbroker_url = redis://127.0.0.1/0\n[core]\nparallelism = 3\n", False),
    ],
)
def test_the_configuration_may_be_open_as_long_as_it_holds_no_secret(reachable, text, is_open):
    write(reachable / "hybrid.cfg", 0o644, text)
    found = told(reachable, **({"api_auth__jwt_secret": "s" * 40} if "_cmd" in text else {}))
    assert [severity for severity, _ in found] == (["error"] if is_open else [])
    assert not any("pass" in line or "sss" in line for _, line in found)


def test_folders_that_everybody_lists_are_warnings(reachable):
    reachable.chmod(0o755)
    (reachable / "run").mkdir()
    (reachable / "run").chmod(0o755)
    assert [(severity, text.split(" can be")[0]) for severity, text in told(reachable)] == [
        ("warning", "home"),
        ("warning", "the folder of start tickets"),
    ]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"core__execution_api_server_url": "http://api.example:8080/execution/v1"}, "without TLS"),
        ({"core__execution_api_server_url": "https://api.example/execution/v1"}, ""),
        ({"core__execution_api_server_url": "http://127.0.0.1:8080/execution/v1"}, ""),
        ({"api__host": "0.0.0.0"}, "[api] host = 0.0.0.0"),
        ({"api__host": "0.0.0.0", "core__execution_api_server_url": "https://api.example/execution/v1"}, ""),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@db.example/x"}, "database on db.example"),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@db.example/x?sslmode=prefer"}, "database on db.example"),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@db.example/x?sslmode=verify-full"}, ""),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@localhost:5432/x"}, ""),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@[::1]:5432/x"}, ""),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@127.0.0.1,far:5432/x"}, "database on far"),
        ({"database__sql_alchemy_conn": "postgresql:///x?host=/run/postgresql"}, ""),
        ({"database__sql_alchemy_conn": "postgresql://u:hid:den#x@db.example/x"}, "database on db.example"),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden/[x@db.example/x"}, "database on db.example"),
        ({"database__sql_alchemy_conn": "postgresql://u:hidden@[::1]/x"}, ""),
    ],
)
def test_plain_connections_to_other_hosts_are_warnings(home, env, words):
    found = told(home, **env)
    assert [severity for severity, _ in found] == (["warning"] if words else [])
    assert all(words in text and "hidden" not in text for _, text in found)


def test_what_is_not_there_is_not_open(tmp_path):
    assert not others_may_read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("", True),
        (None, True),
        ("0.0.0.0", False),
        ("db", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
