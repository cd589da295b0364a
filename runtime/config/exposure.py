"""What of the settings is open to others: plain connections over a network, files that anybody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import parse_qs

from executors.exposure import is_loopback, others_may_read
from executors.findings import Finding, Severity
from runtime.config.options import SECTIONS, OptionInfo
from runtime.config.settings import Settings
from runtime.config.sources import Sources
from runtime.config.values import after_login, masked

ABOUT = "settings"
_SAFE_MODES = ("require", "verify-ca", "verify-full")
"""Of libpq's ``sslmode``; the others go on without TLS where there is none."""
_PORT = re.compile(r":\d*$")


def exposures(settings: Settings) -> list[Finding]:
    """Of this host, in this process's settings. Looks at modes of files; connects to nothing."""
    return [*_errors(settings), *_warnings(settings)]


def _errors(settings: Settings) -> Iterator[Finding]:
    for what, path in _secret_files(settings):
        if others_may_read(path):
            yield Finding(Severity.ERROR, ABOUT, f"{what} can be read by every user of this host: chmod 600 {path}")


def _secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "the signing key", settings.home / "jwt.key"
    if _holds_secrets(settings.sources):
        yield "the configuration, which holds secrets,", settings.config_file
    url = settings.database.sql_alchemy_conn
    if url.startswith("sqlite:///"):
        yield "the metadata database", Path(url.removeprefix("sqlite:///"))


def _holds_secrets(sources: Sources) -> bool:
    """Whether ``hybrid.cfg`` has a value that would be masked where it is shown."""
    return any(
        masked(key, text, sensitive=_is_sensitive(section, key)) != text
        for section, options in sources.file.items()
        for key, text in options.items()
        if not key.endswith("_cmd")
    )


def _is_sensitive(section: str, key: str) -> bool:
    for declared in fields(SECTIONS[section]) if section in SECTIONS else ():
        if declared.name == key:
            info: OptionInfo = declared.metadata["option"]
            return info.sensitive
    return False


def _warnings(settings: Settings) -> Iterator[Finding]:
    for what, path in (("home", settings.home), ("the folder of start tickets", settings.home / "run")):
        if others_may_read(path):
            text = f"{what} can be listed by every user of this host: chmod 700 {path}"
            yield Finding(Severity.WARNING, ABOUT, text)
    for text in filter(None, (_plain_api(settings), _plain_database(settings.database.sql_alchemy_conn))):
        yield Finding(Severity.WARNING, ABOUT, text)


def _plain_api(settings: Settings) -> str | None:
    advice = "whoever is in between can read tokens; put a proxy with TLS before it"
    scheme, _, rest = settings.task_api_url.partition("://")
    host = _PORT.sub("", rest.partition("/")[0].rpartition("@")[2]).strip("[]")
    if scheme == "http" and not is_loopback(host):
        shown = masked("url", settings.task_api_url)
        where = "[core] execution_api_server_url"
        return f"workers reach the task API at {shown}, without TLS: {advice}, and write https:// in {where}"
    if scheme == "http" and not is_loopback(settings.api.host or "0.0.0.0"):  # noqa: S104  compared only
        return f"[api] host = {settings.api.host} is open to other hosts, without TLS: {advice}, or use 127.0.0.1"
    return None


def _plain_database(url: str) -> str | None:
    if url.startswith("sqlite:"):
        return None
    where, query = after_login(url)
    options = parse_qs(query)
    hosts = options.get("host") or [_PORT.sub("", place) for place in where.partition("/")[0].split(",") if place]
    far = [host for host in hosts if not host.startswith("/") and not is_loopback(host.strip("[]"))]
    if not far or options.get("sslmode", [""])[-1] in _SAFE_MODES:
        return None
    return (
        f"the database on {', '.join(far)} may be spoken to without TLS: whoever is in between can read and change "
        "everything; add ?sslmode=verify-full (or require) to [database] sql_alchemy_conn"
    )
