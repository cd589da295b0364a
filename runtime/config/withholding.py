"""Secrets stay out of what the daemons start: parse processes, tasks, whatever an executor launches."""

from __future__ import annotations

import os
from collections.abc import Iterable

from runtime.config.sources import PREFIX

_KEYS = ("HYBRID__API_AUTH__JWT_SECRET", "HYBRID__CORE__FERNET_KEY")


def withhold_signing_key() -> None:
    """Forget the variables that bring it, and the Fernet key. To be called by a daemon that has read its settings."""
    for key in _KEYS:
        for suffix in ("", "_CMD", "_SECRET"):
            os.environ.pop(key + suffix, None)


def withhold_sections(names: Iterable[str]) -> None:
    """Forget the variables of these sections, their aliases included: an executor's options hold passwords, and what
    it runs needs none of them. To be called by a worker that has read its settings.
    """
    prefixes = tuple(f"{PREFIX}{name}__".upper() for name in names)
    for variable in [variable for variable in os.environ if variable.startswith(prefixes)]:
        del os.environ[variable]
