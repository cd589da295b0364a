"""What the verbs about connections, variables and pools share: the open database, its keys, and files in and out."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime.cli.command import UsageError, load_settings
from runtime.cli.output import to_yaml
from runtime.core.errors import HybridError
from runtime.secrets.keyring import Keyring
from runtime.secrets.masking import masker

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.engine import Database

STREAM = "-"
"""In place of a file or a value: stdout, stdin."""


class Vault(NamedTuple):
    """The metadata DB and the keys of what is secret in it."""

    settings: Settings
    database: Database
    keyring: Keyring


@contextmanager
def open_vault() -> Iterator[Vault]:
    """Raises :class:`HybridError` where the configuration or the database cannot be used."""
    from runtime.config.worker import secrets_config
    from runtime.db.engine import open_database

    settings = load_settings()
    rules = secrets_config(settings)
    masker.configure(rules.words, by_name=rules.by_name, shortest=rules.shortest)
    database = open_database(settings)
    try:
        yield Vault(settings, database, Keyring(settings.home, settings.core.fernet_key))
    finally:
        database.close()


def hide_arguments(verb: str) -> None:
    """Take the arguments out of ``ps``: one of them is a secret."""
    from setproctitle import setproctitle

    setproctitle(f"hybrid {verb}")


def given(value: str | None) -> str | None:
    """An argument's value; of ``-`` what stdin says, without the line end: no argument list need hold a secret."""
    if value != STREAM:
        return value
    return sys.stdin.read().removesuffix("\n") if sys.stdin else ""


def add_show_values(parser: ArgumentParser) -> None:
    """Add ``--show-values``, and Airflow's ``--hide-sensitive``, which is what happens anyway."""
    parser.add_argument("--show-values", "--show-sensitive", action="store_true", help="show secrets too")
    parser.add_argument("--hide-sensitive", action="store_true", help="show secrets as *** even so")


def export_format(path: str, chosen: str | None, known: tuple[str, ...]) -> str:
    """``json``, ``yaml`` or ``env``: as chosen, else by the file's suffix, else JSON on stdout.

    Raises :class:`UsageError`.
    """
    if chosen:
        return chosen
    suffix = Path(path).suffix.lower().removeprefix(".").replace("yml", "yaml")
    if path != STREAM and suffix not in known:
        raise UsageError(
            f"{path}: the file must end in {', '.join('.' + name for name in known)}, which say its format"
        )
    return suffix or "json"


def write_export(path: str, text: str) -> None:
    """Write to stdout for ``-``, else to a file that nobody else can read. Raises :class:`HybridError`."""
    if path == STREAM:
        print(text)
        return
    try:
        # Never through what lies there: an old file may be open to others.
        draft = f"{path}.{os.getpid()}"
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(draft, path)
    except OSError as error:
        raise HybridError(f"{path} cannot be written: {error.strerror}") from None


def serialized(records: dict[str, Any], form: str) -> str:
    """A mapping as the text of a JSON or YAML file."""
    return json.dumps(records, indent=4, ensure_ascii=False) if form == "json" else to_yaml(records)


def tell_import(done: dict[str, list[str]], what: str) -> None:
    """One line that says what an import has done."""
    total = len(done["created"]) + len(done["replaced"])
    kept = f"; kept {len(done['kept'])} that exist already: {', '.join(done['kept'][:10])}" if done["kept"] else ""
    print(f"imported {total} {what}{'' if total == 1 else 's'}, {len(done['replaced'])} of them replaced{kept}")
