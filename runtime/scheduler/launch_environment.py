"""What the processes inherit that executors start for ``dags test``: where its task API is, and where their home is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from runtime.config import Settings
from runtime.scheduler.tickets import ticket_folder


def with_usable_home(settings: Settings, spare: Path) -> tuple[Settings, dict[str, str]]:
    """The settings with a home that start tickets can be left in, and the variables that tell launches of it.

    The home itself where it is there; else ``spare``, with the user's configuration and folders as they are.
    """
    if _takes_tickets(settings.home):
        return settings, {"HYBRID_HOME": str(settings.home)}
    return replace(settings, home=spare), {
        "HYBRID_HOME": str(spare),
        "HYBRID_CONFIG": str(settings.config_file),
        "HYBRID__CORE__DAGS_FOLDER": str(settings.core.dags_folder),
        "HYBRID__CORE__PLUGINS_FOLDER": str(settings.core.plugins_folder),
        "HYBRID__LOGGING__BASE_LOG_FOLDER": str(settings.logging.base_log_folder),
    }


def _takes_tickets(home: Path) -> bool:
    """Whether it is there and can be written; root may write everywhere, but not all file systems let it."""
    if not home.is_dir():
        return False
    folder = ticket_folder(home)
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Have them in this process's environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
