"""``make compose-env``: the file of secrets that ``deploy/docker-compose.yml`` reads; needs Python alone.

    python deploy/compose/env_file.py deploy/.env

A file that is there keeps what it says and gets what it lacks, so that this may be run as often as one likes.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

SECRETS = {"POSTGRES_PASSWORD": 24, "REDIS_PASSWORD": 24, "HYBRID_JWT_SECRET": 64}
"""Random bytes of each. In hexadecimal digits: no character of them means anything in a URL or to Compose."""
FERNET_KEY = "HYBRID_FERNET_KEY"
"""Encrypts connections and variables; 32 bytes in Fernet's own spelling."""
HEADING = """\
# Secrets of the deployment in docker-compose.yml. Keep this file: the database knows its password by now.
# What else may be set here: docs/deployment.md.
"""


def main() -> int:
    """Make or complete the file named by the only argument; 0, or 2 for wrong usage."""
    if len(sys.argv) != 2:
        print("usage: env_file.py FILE", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        added = complete(path, COMPOSE_PROJECT_NAME="hybrid")
    except OSError as error:
        print(f"env_file.py: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{path}: {'made ' + ', '.join(added) if added else 'complete'}; mode 0600")
    return 0


def complete(path: Path, **plain: str) -> list[str]:
    """Write what the file lacks, and return its names; nobody but its owner can read it at any moment.

    :param plain: what is no secret, by name, for where the file says nothing of it.

    Raises ``OSError``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "r+", encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        file.seek(0)
        text = file.read()
        wanted = plain | {name: secrets.token_hex(size) for name, size in SECRETS.items()}
        wanted[FERNET_KEY] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        missing = {name: value for name, value in wanted.items() if name not in values_in(text.splitlines())}
        begin = HEADING if not text else "" if text.endswith("\n") else "\n"
        if missing:
            file.write(begin + "".join(f"{name}={value}\n" for name, value in missing.items()))
    return list(missing)


def values_in(lines: Iterable[str]) -> dict[str, str]:
    """The variables that have a value."""
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


if __name__ == "__main__":
    sys.exit(main())
