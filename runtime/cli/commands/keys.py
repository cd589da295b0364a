"""``hybrid rotate-fernet-key``."""

from __future__ import annotations

from argparse import Namespace

from runtime.cli.command import Verb
from runtime.cli.vault import open_vault


def _rotate(args: Namespace) -> int:
    from runtime.db.connections import rotate_connections
    from runtime.db.variables import rotate_variables

    with open_vault() as vault:
        keyring = vault.keyring
        if not keyring.is_configured:
            keyring.add_key()
        # One transaction: a key that is missing for one of them leaves all as they were.
        with vault.database.write() as connection:
            counts = rotate_connections(connection, keyring), rotate_variables(connection, keyring)
    print(f"{counts[0]} connections and {counts[1]} variables are stored under the newest key")
    return 0


VERBS = {"rotate-fernet-key": Verb("encrypt connections and variables under the newest key", _rotate)}
