"""Where a broker or a result backend is, and how to speak of it without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from executors.exposure import is_loopback

HIDDEN = "***"
_CREDENTIALS = re.compile(r"(?<=://)[^\s/]*@")
_REDIS = ("redis", "rediss", "sentinel")
_SOCKETS = ("redis+socket", "socket")
_SAFE = ("rediss", "amqps", "pyamqps", "sqs", "https")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One URL, or several separated by ``;``. Its password is in ``url`` and ``secrets`` only."""

    url: str = field(repr=False)
    shown: str
    """Scheme, host, port and path, for people."""
    secrets: tuple[str, ...] = field(repr=False)
    warning: str | None = None
    """What is unsafe about it, in one line."""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Raises ``ValueError`` with a text that does not repeat the URL."""
        parts = [_split(part) for part in url.split(";") if part.strip()]
        if not parts:
            raise ValueError("it is empty")
        secrets = tuple(secret for part in parts for secret in _secrets(part))
        warnings = [text for part in parts if (text := _warning(part))]
        return cls(url, ";".join(_shown(part) for part in parts), secrets, warnings[0] if warnings else None)

    @property
    def is_plain(self) -> bool:
        """Whether it is spoken to over a network and its scheme promises no TLS."""
        parts = [_split(part) for part in self.url.split(";") if part.strip()]
        return any(part.scheme not in (*_SOCKETS, *_SAFE) and not is_loopback(part.hostname) for part in parts)

    @property
    def is_redis(self) -> bool:
        scheme = self.shown.partition(":")[0]
        return scheme in _REDIS or scheme in _SOCKETS

    def redact(self, text: str) -> str:
        """``text`` without what opens the endpoint."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return _CREDENTIALS.sub(f"{HIDDEN}@", text)


def _split(url: str) -> SplitResult:
    advice = "write scheme://user:password@host:port/path, with %XX for each special character of the password"
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise ValueError(f"it is no URL; {advice}") from None
    if not parts.scheme or not (parts.netloc or parts.path):
        raise ValueError(f"it is no URL; {advice}")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(f"there is an '@' behind the host; {advice}")
    return parts


def _shown(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _secrets(parts: SplitResult) -> list[str]:
    """The password as written and as meant; also one in the query, as ``?password=``."""
    found = [parts.password] if parts.password else []
    found += re.findall(r"password=([^&]+)", parts.query)
    return sorted({text for secret in found for text in (secret, unquote(secret))}, key=len, reverse=True)


def _warning(parts: SplitResult) -> str | None:
    if parts.scheme in _SOCKETS or is_loopback(parts.hostname):
        return None
    if parts.scheme in ("redis", "rediss") and not parts.password:
        return f"{_shown(parts)} has no password: whoever reaches it can take or remove work; set one"
    login = (parts.username or "guest", parts.password or "guest")  # as the client fills them in
    if parts.scheme in ("amqp", "amqps", "pyamqp") and login == ("guest", "guest"):
        return f"{_shown(parts)} is open to guest:guest; create a user of its own"
    return None
