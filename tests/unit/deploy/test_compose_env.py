"""``make compose-env``: secrets that nobody else can read, and that stay as they are."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy/compose/env_file.py"
IN_HEXADECIMAL = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "HYBRID_JWT_SECRET"}
REQUIRED = IN_HEXADECIMAL | {"HYBRID_FERNET_KEY"}


def make(path: Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True, check=False, umask=umask
    )


def values(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_the_secrets_are_those_that_the_compose_file_asks_for(path: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "deploy/docker-compose.yml").read_text()))
    assert make(path).returncode == 0
    assert asked == REQUIRED
    assert set(values(path)) == REQUIRED | {"COMPOSE_PROJECT_NAME"}


def test_a_secret_is_long_enough_and_means_nothing_in_a_url(path: Path) -> None:
    make(path)
    for name in IN_HEXADECIMAL:
        assert re.fullmatch(r"[0-9a-f]{48,}", values(path)[name])
    assert len(base64.urlsafe_b64decode(values(path)["HYBRID_FERNET_KEY"])) == 32
    assert len(values(path)["HYBRID_JWT_SECRET"]) == 128


def test_no_two_files_share_a_secret(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    make(one)
    make(other)
    assert not {values(one)[name] for name in REQUIRED} & {values(other)[name] for name in REQUIRED}


def test_only_its_owner_can_read_it_whatever_the_umask(path: Path) -> None:
    make(path, umask=0)
    assert mode(path) == 0o600


def test_a_file_that_others_could_read_is_closed(path: Path) -> None:
    path.write_text("POSTGRES_PASSWORD=mine\n")
    path.chmod(0o644)
    make(path)
    assert mode(path) == 0o600


def test_what_is_there_stays_and_what_lacks_is_added(path: Path) -> None:
    path.write_text("# REDIS_PASSWORD=no\nPOSTGRES_PASSWORD=mine\nHYBRID_API_PORT=9000")
    done = make(path)
    assert (values(path)["POSTGRES_PASSWORD"], values(path)["HYBRID_API_PORT"]) == ("mine", "9000")
    assert set(values(path)) >= REQUIRED
    assert "REDIS_PASSWORD" in done.stdout
    assert "POSTGRES_PASSWORD" not in done.stdout


def test_making_it_again_changes_nothing(path: Path) -> None:
    make(path)
    before = path.read_bytes()
    assert "complete" in make(path).stdout
    assert path.read_bytes() == before


def test_an_empty_value_is_none(path: Path) -> None:
    path.write_text("REDIS_PASSWORD=\n")
    make(path)
    assert len(values(path)["REDIS_PASSWORD"]) == 48


def test_no_secret_is_printed(path: Path) -> None:
    done = make(path)
    assert not [name for name in REQUIRED if values(path)[name] in done.stdout + done.stderr]


def test_a_link_is_refused_in_one_line(tmp_path: Path, path: Path) -> None:
    """Whoever may place a link would choose where the secrets go."""
    path.symlink_to(tmp_path / "elsewhere")
    done = make(path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(path) in done.stderr
    assert not os.path.exists(tmp_path / "elsewhere")


def test_wrong_usage_is_exit_code_2() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: env_file.py FILE\n")


def test_git_ignores_it() -> None:
    assert ".env" in (ROOT / "deploy/.gitignore").read_text().splitlines()
