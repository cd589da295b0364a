"""How the runtime's own processes log: lines on stderr, for a terminal, systemd or a container to take."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str) -> None:
    """Set up the root logger; call once per process, before anything logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
