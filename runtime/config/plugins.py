"""The plugins folder: modules that executors, DAG files and tasks share."""

from __future__ import annotations

import sys

from runtime.config.settings import Settings


def use_plugins(settings: Settings) -> None:
    """Put ``[core] plugins_folder`` on this process's import path, behind what is there. Idempotent.

    Worker processes get their path from the process that starts them.
    """
    folder = str(settings.core.plugins_folder)
    if folder not in sys.path:
        sys.path.append(folder)
