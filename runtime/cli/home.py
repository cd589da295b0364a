"""The home folder: what ``standalone`` puts there when it is new."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.config import Settings
from runtime.core.errors import HybridError

CONFIG = """\
# Options of the hybrid runtime; `hybrid config list` shows all of them, docs/configuration.md says why each default is
# what it is. An environment variable HYBRID__SECTION__OPTION wins over this file.

[core]
# Executors, the first is the default. An alias gives one a name and options of its own:
#   executor = LocalExecutor, heavy:LocalExecutor
executor = LocalExecutor

[local_executor]
# Task instances at once; default: [core] parallelism.
# parallelism = 32

# [local_executor:heavy]
# parallelism = 2
"""


def create_home(settings: Settings) -> None:
    """Create what is missing of home, ``hybrid.cfg``, DAGs and logs folder; open to this user only.

    Raises :class:`HybridError` with the path that cannot be written.
    """
    for folder in (settings.home, settings.core.dags_folder, settings.logging.base_log_folder):
        _create(folder)
    if not os.access(settings.home, os.W_OK | os.X_OK):
        raise HybridError(f"home {settings.home} is not writable; choose another with HYBRID_HOME")
    file = settings.config_file
    if not file.exists() and file.parent == settings.home:
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(CONFIG)


def _create(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HybridError(
            f"folder {folder} cannot be created: {error.strerror}; choose another home with HYBRID_HOME"
        ) from error
