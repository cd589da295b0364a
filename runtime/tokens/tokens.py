"""Minting and checking. One key, one algorithm, and an audience for each purpose: a token is good for that one only."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import jwt

ALGORITHM: Final = "HS512"
"""The only one accepted, whatever a token's header says (RFC 8725, 3.1)."""
Audience: TypeAlias = Literal["hybrid:start", "hybrid:run", "hybrid:log"]
START: Final = "hybrid:start"
"""Scope: start this attempt, while it is queued. Leaves the machine in messages, pods and files."""
RUN: Final = "hybrid:run"
"""Scope: speak for this launch of the attempt, while it is running. Never leaves its supervisor's memory."""
LOG: Final = "hybrid:log"
"""Scope: read this one log file."""
LOG_SECONDS = 60.0


class InvalidTokenError(Exception):
    """Why a token is worth nothing, in a few words that repeat nothing of it."""


class WrongScopeError(Exception):
    """A valid token, for something else."""


class Claims(NamedTuple):
    subject: str
    """Attempt id, or path of a log file below the log folder."""
    nonce: str
    """Of the launch; empty but for :data:`RUN`."""


class Tokens:
    """Thread-safe.

    :param lifetime: seconds that a running token is good for; each heartbeat brings a new one.
    :param clock: seconds since 1970.
    """

    def __init__(self, key: bytes, *, lifetime: float = 600.0, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._lifetime = lifetime
        self._clock = clock

    def __repr__(self) -> str:
        return "Tokens(…)"

    def key_id(self) -> str:
        """Algorithm and six hexadecimal digits, by which two processes see whether they have the same key.

        Fit to be shown, though a key may be a sentence that somebody thought of: a guess takes some 50 ms, and one in
        sixteen million wrong ones has the same id.
        """
        return f"{ALGORITHM} {hashlib.scrypt(self._key, salt=b'hybrid key id', n=2**14, r=8, p=1, dklen=3).hex()}"

    def start_ticket(self, attempt_id: str, seconds: float) -> str:
        """Good for ``seconds``."""
        return self._mint(START, attempt_id, seconds)

    def running_token(self, attempt_id: str, nonce: str) -> str:
        """For the launch whose start was granted to ``nonce``."""
        return self._mint(RUN, attempt_id, self._lifetime, nonce=nonce)

    def log_token(self, path: str) -> str:
        """For one log file, for a minute."""
        return self._mint(LOG, path, LOG_SECONDS)

    def check(self, token: str, audience: Audience) -> Claims:
        """What a valid token says. Raises :class:`InvalidTokenError`, :class:`WrongScopeError` for another audience."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=audience,
                options={"require": ["exp", "iat", "aud", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidAudienceError:
            raise WrongScopeError("the token is for something else") from None
        except jwt.PyJWTError as error:
            raise InvalidTokenError(f"the token is not valid: {type(error).__name__}") from None
        if not isinstance(claims["exp"], int | float) or claims["exp"] <= self._clock():
            raise InvalidTokenError("the token has expired")
        return Claims(str(claims["sub"]), str(claims.get("nonce", "")))

    def _mint(self, audience: Audience, subject: str, seconds: float, **more: Any) -> str:
        now = self._clock()
        claims = {"aud": audience, "sub": subject, "iat": int(now), "exp": int(now + seconds) + 1, **more}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)
