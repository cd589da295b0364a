"""``hybrid db …``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.command import Verb, confirm, load_settings
from runtime.config.values import masked


def _migrate(args: Namespace) -> int:
    from runtime.db.migrate import migrate

    settings = load_settings()
    revision = migrate(settings)
    print(f"the metadata DB is at revision {revision}: {masked('url', settings.database.sql_alchemy_conn)}")
    return 0


def _check(args: Namespace) -> int:
    from runtime.db.migrate import check

    settings = load_settings()
    check(settings)
    print(f"the metadata DB is reachable and migrated: {masked('url', settings.database.sql_alchemy_conn)}")
    return 0


def _reset(args: Namespace) -> int:
    from runtime.db.migrate import reset

    settings = load_settings()
    url = masked("url", settings.database.sql_alchemy_conn)
    confirm(f"Drop everything in {url} and create empty tables?", yes=args.yes)
    reset(settings)
    print(f"the metadata DB is empty: {url}")
    return 0


def _reset_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


VERBS = {
    "migrate": Verb("create or upgrade the tables", _migrate),
    "check": Verb("exit 0 when the database is reachable and migrated", _check),
    "reset": Verb("drop everything and create empty tables", _reset, _reset_arguments),
}
