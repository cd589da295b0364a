"""What a launch proves itself with: a start ticket, then running tokens. Nothing of it is ever shown."""

from __future__ import annotations

import base64
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from runtime.core.messages import Request, Start
from runtime.core.task_api import TICKET_VARIABLE
from runtime.worker.linux import boottime, wipe_environment
from runtime.worker.loop import NEVER

_TOKEN = re.compile(r"[\w.\-]+", re.ASCII)
"""Nothing else may come into a header; ``http.client`` quotes what it refuses, and that would be the token."""
_LONGEST = 8192


class Credentials:
    """For one launch. Used by the thread that asks, and by no other."""

    def __init__(self, ticket: str) -> None:
        self._ticket = ticket
        self._token = ""
        self._expires = NEVER

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def expired(self) -> bool:
        """Whether the running token is worth nothing any more; of a ticket only the server knows."""
        return boottime() >= self._expires

    def header(self, request: Request) -> str:
        """The value of ``Authorization``."""
        return f"Bearer {self._ticket if isinstance(request, Start) else self._token}"

    def renew(self, token: str, since: float) -> bool:
        """Keep a newer running token, asked for at ``since``; false where it is none."""
        if not _is_token(token):
            return False
        # Its age is measured here: the clocks of the two hosts may differ.
        self._token, self._expires = token, since + _lifetime(token)
        return True


def take_ticket() -> str:
    """The ticket of ``HYBRID_START_TICKET``, of which nothing is left in this process's environment. Empty: none."""
    found = os.environ.pop(TICKET_VARIABLE, "").strip()
    wipe_environment(TICKET_VARIABLE)
    return found if _is_token(found) else ""


def read_ticket(folder: Path, attempt_id: str) -> str:
    """The ticket that a scheduler of this host has left in a file. Empty: none."""
    found = _read(folder / attempt_id).strip()
    return found if _is_token(found) else ""


def remove_ticket(folder: Path, attempt_id: str) -> None:
    """Nobody needs the file any more. Never raises."""
    with suppress(OSError):
        os.unlink(folder / attempt_id)


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _LONGEST).decode("ascii", errors="replace") if plain else ""
    finally:
        os.close(descriptor)


def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


class _Claims(msgspec.Struct):
    exp: float
    iat: float


def _lifetime(token: str) -> float:
    """Seconds from its making to its end; for ever where it does not say."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (ValueError, msgspec.DecodeError):
        return NEVER
    return claims.exp - claims.iat
