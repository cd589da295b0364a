"""``hybrid db …``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.command import UsageError, Verb, add_output, confirm, load_settings
from runtime.cli.output import emit
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


def _clean(args: Namespace) -> int:
    from runtime.cli.moments import parse_moment
    from runtime.core import clock
    from runtime.db.cleaning import clean, count
    from runtime.db.engine import open_database

    settings = load_settings()
    at = parse_moment("--clean-before-timestamp", args.clean_before_timestamp, settings.core.default_timezone)
    assert at is not None
    if at > clock.now():
        raise UsageError(f"--clean-before-timestamp {args.clean_before_timestamp} is in the future")
    if args.batch_size < 1:
        raise UsageError("--batch-size must be 1 or more")
    names = _tables(args.tables)
    database = open_database(settings)
    try:
        with database.read() as connection:
            found = count(connection, names, at)
        if args.dry_run:
            return _show(found, "rows_to_delete", args.output)
        if not args.skip_archive:
            raise UsageError("rows are deleted for good, no archive tables are made; say --skip-archive to go on")
        url = masked("url", settings.database.sql_alchemy_conn)
        parts = ", ".join(f"{number} of {name}" for name, number in found.items() if number) or "nothing"
        confirm(f"Delete for good what is older than {clock.iso(at)} in {url}: {parts}?", yes=args.yes)
        return _show(clean(database, names, at, args.batch_size), "rows_deleted", args.output)
    finally:
        database.close()


def _tables(text: str | None) -> list[str]:
    """The names of ``--tables``. Raises :class:`UsageError`."""
    from executors.names import did_you_mean
    from runtime.db.cleaning import ALIASES, RULES

    if text is None:
        return list(RULES)
    names = [ALIASES.get(name.strip(), name.strip()) for name in text.split(",")]
    for name in names:
        if name not in RULES:
            known = did_you_mean(name, RULES) or f"; choose from {', '.join(RULES)}"
            raise UsageError(f"--tables: there is nothing to clean of {name!r}{known}")
    return names


def _show(found: dict[str, int], column: str, output: str) -> int:
    emit([{"table": name, column: number} for name, number in found.items()], output, ("table", column))
    return 0


def _clean_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--clean-before-timestamp",
        required=True,
        metavar="T",
        help="ISO-8601: what ended before goes; without a zone, in default_timezone",
    )
    parser.add_argument("-t", "--tables", metavar="NAMES", help="only these, with commas (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say how many rows would go")
    parser.add_argument("--skip-archive", action="store_true", help="delete for good, as it is done here always")
    parser.add_argument("--batch-size", type=int, default=1_000, metavar="N", help="rows at a time (default: 1000)")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_output(parser)


def _reset_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


VERBS = {
    "migrate": Verb("create or upgrade the tables", _migrate),
    "check": Verb("exit 0 when the database is reachable and migrated", _check),
    "clean": Verb("delete history that is older than a moment", _clean, _clean_arguments),
    "reset": Verb("drop everything and create empty tables", _reset, _reset_arguments),
}
