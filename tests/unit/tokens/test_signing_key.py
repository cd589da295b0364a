"""The signing key: the configured one, else one that is made once, for this user only."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.config import load
from runtime.config.withholding import withhold_signing_key
from runtime.core.errors import ConfigError, HybridError
from runtime.tokens.keys import load_log_tokens, load_tokens, log_secret
from runtime.tokens.tokens import LOG, START, InvalidTokenError


def test_it_is_made_once_and_kept_private(home: Path) -> None:
    ticket = load_tokens(load()).start_ticket("a", 60)
    assert load_tokens(load()).check(ticket, START).subject == "a"
    key = home / "jwt.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) == 128
    assert [path.name for path in home.iterdir()] == ["jwt.key"]


def test_all_who_begin_together_have_the_same(home: Path) -> None:
    settings = load()
    start = threading.Barrier(8)
    tickets: list[str] = []

    def begin() -> None:
        start.wait()
        tickets.append(load_tokens(settings).start_ticket("a", 60))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tickets) == 8
    assert {load_tokens(settings).check(ticket, START).subject for ticket in tickets} == {"a"}


def test_a_configured_one_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID__API_AUTH__JWT_SECRET", "s" * 40)
    settings = load()
    load_tokens(settings)
    assert not (home / "jwt.key").exists()
    assert "s" * 40 not in f"{settings!r}"


def test_a_short_one_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRID__API_AUTH__JWT_SECRET", "short")
    with pytest.raises(ConfigError, match=r"\[api_auth\] jwt_secret has fewer than 32 bytes; make one with"):
        load_tokens(load())


def test_a_damaged_file_is_told(home: Path) -> None:
    (home / "jwt.key").write_text("oops")
    with pytest.raises(HybridError, match="is damaged; delete it, and a new one is made"):
        load_tokens(load())


def test_a_home_that_cannot_be_written_is_told(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(HybridError, match="cannot be used: Not a directory"):
        load_tokens(replace(load(), home=home / "file" / "home"))


def test_log_tokens_have_a_key_of_their_own(home: Path) -> None:
    """Whoever reads logs with it cannot sign a start; nor does a start ticket open a log."""
    settings = load()
    general, logs = load_tokens(settings), load_log_tokens(settings)
    assert logs.check(load_log_tokens(settings).log_token("a.log"), LOG).subject == "a.log"
    for signer, other in ((general, logs), (logs, general)):
        with pytest.raises(InvalidTokenError):
            other.check(signer.log_token("a.log"), LOG)


def test_a_log_server_needs_no_signing_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own secret configured, as on a worker's host, the other one is neither read nor made."""
    secret = log_secret(load())
    (home / "jwt.key").unlink()
    monkeypatch.setenv("HYBRID__LOGGING__WORKER_LOG_SERVER_SECRET", secret)
    load_log_tokens(load()).log_token("a.log")
    assert list(home.iterdir()) == []


def test_the_signing_key_is_withheld_from_what_a_daemon_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("", "_CMD", "_SECRET"):
        monkeypatch.setenv(f"HYBRID__API_AUTH__JWT_SECRET{suffix}", "s" * 40)
    withhold_signing_key()
    assert not [name for name in os.environ if "JWT" in name]
