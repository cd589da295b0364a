"""The signing key stays out of what the daemons start: parse processes, tasks, whatever an executor launches."""

from __future__ import annotations

import os

_SIGNING_KEY = "HYBRID__API_AUTH__JWT_SECRET"


def withhold_signing_key() -> None:
    """Forget the variables that bring it. To be called by a daemon that has read its settings."""
    for suffix in ("", "_CMD", "_SECRET"):
        os.environ.pop(_SIGNING_KEY + suffix, None)
