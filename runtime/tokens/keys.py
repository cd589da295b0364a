"""The signing key: configured, or made once and kept in the home folder; for scheduler and API server, no worker."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from runtime.config import Settings
from runtime.config.parity import LOG_KEY
from runtime.core.errors import ConfigError, HybridError
from runtime.tokens.tokens import LOG, Tokens

KEY_BYTES = 64
"""As many as SHA-512 makes (RFC 7518, 3.2: a key of at least the hash's size)."""
SHORTEST_KEY = 32


def load_tokens(settings: Settings) -> Tokens:
    """Raises :class:`ConfigError` for a key that is too short, :class:`HybridError` where the file cannot be used."""
    return Tokens(_signing_key(settings), lifetime=settings.execution_api.jwt_expiration_time)


def load_log_tokens(settings: Settings) -> Tokens:
    """For log tokens only. Raises what :func:`load_tokens` raises."""
    return Tokens(log_secret(settings).encode())


def log_secret(settings: Settings) -> str:
    """The key of log tokens: configured, else derived.

    With it alone nobody can sign anything but log tokens, so the host of a worker, whose log server needs it, need not
    be told the signing key.
    """
    configured = _configured("[logging] worker_log_server_secret", settings.logging.worker_log_server_secret)
    return configured or hmac.new(_signing_key(settings), LOG.encode(), hashlib.sha512).hexdigest()


def log_key_id(settings: Settings) -> dict[str, str]:
    """What a process that hands out logs, or asks for them, declares of its key
    (:func:`runtime.config.parity.declare`). Where there is no key yet, none is made: empty.

    Raises what :func:`load_tokens` raises.
    """
    has_one = settings.logging.worker_log_server_secret or settings.api_auth.jwt_secret
    if not has_one and not (settings.home / "jwt.key").exists():
        return {}
    return {LOG_KEY: load_log_tokens(settings).key_id()}


def _configured(option: str, secret: str) -> str:
    if secret and len(secret.encode()) < SHORTEST_KEY:
        raise ConfigError(
            f"{option} has fewer than {SHORTEST_KEY} bytes; make one with "
            "`python -c 'import secrets; print(secrets.token_hex(64))'`"
        )
    return secret


def _signing_key(settings: Settings) -> bytes:
    if configured := _configured("[api_auth] jwt_secret", settings.api_auth.jwt_secret):
        return configured.encode()
    path = settings.home / "jwt.key"
    try:
        return _read(path) or _create(path)
    except OSError as error:
        raise HybridError(f"the signing key {path} cannot be used: {error.strerror}") from error


def _read(path: Path) -> bytes | None:
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    if len(key) < SHORTEST_KEY:
        raise HybridError(f"the signing key {path} is damaged; delete it, and a new one is made")
    return key


def _create(path: Path) -> bytes:
    """Write it beside and link it into place: of two processes that begin together one wins, and both read that."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    key = _read(path)
    if key is None:
        raise HybridError(f"the signing key {path} vanished while it was made")
    return key
