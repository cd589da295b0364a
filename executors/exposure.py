"""Who else can get at something: addresses that others reach, files that others read."""

from __future__ import annotations

import os
import stat
from ipaddress import ip_address
from pathlib import Path


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches it; no host at all is a socket of this machine."""
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host in (None, "") or str(host).lower() == "localhost" or str(host).lower().endswith(".localhost")


def others_may_read(path: Path) -> bool:
    """Whether any user of this machine can read the file, or list the folder: by its mode, and by those of the folders
    above it. False where it is not there, or cannot be looked at.
    """
    try:
        found = path.resolve(strict=True)
        wanted = stat.S_IROTH | (stat.S_IXOTH if found.is_dir() else 0)
        return found.stat().st_mode & wanted == wanted and all(
            os.stat(folder).st_mode & stat.S_IXOTH for folder in found.parents
        )
    except OSError:
        return False
