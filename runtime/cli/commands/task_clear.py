"""``hybrid tasks clear``: see what would run again, and make it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Verb, add_output, confirm, load_settings
from runtime.cli.moments import parse_range
from runtime.cli.output import emit, with_iso_times
from runtime.core import clock

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.clearing import Choice

COLUMNS = ("dag_id", "run_id", "task_id", "map_index", "state", "try_number")


def _clear(args: Namespace) -> int:
    """Exit code 0 also where there is nothing to clear, as in Airflow."""
    from runtime.db.clearing import choose, clear
    from runtime.db.engine import open_database
    from runtime.db.hints import send_hint

    settings = load_settings()
    choice = _choice(args, settings)
    database = open_database(settings)
    try:
        with database.read() as connection:
            rows = choose(connection, choice)
        rows.sort(key=lambda row: (row.logical_date or 0, row.run_id, row.task_id, row.map_index))
        records = [with_iso_times(_record(args.dag_id, row)) for row in rows]
        if args.dry_run:
            emit(records, args.output, COLUMNS)
            return 0
        if not records:
            print("nothing to clear")
            return 0
        if not args.yes:
            emit(records, "table", COLUMNS)
        confirm(f"Clear these {_count(len(records))} of DAG {args.dag_id}, so that they run again?", yes=args.yes)
        count = database.transact(lambda connection: clear(connection, choice, clock.now()))
        send_hint(database, settings.home)
    finally:
        database.close()
    print(f"cleared {_count(count)}")
    return 0


def _choice(args: Namespace, settings: Settings) -> Choice:
    from runtime.db.clearing import Choice, states_of

    first, last = parse_range(args.start_date, args.end_date, settings.core.default_timezone)
    return Choice(
        dag_id=args.dag_id,
        run_id=args.run_id,
        start_date=first,
        end_date=last,
        task_regex=args.task_regex,
        upstream=args.upstream,
        downstream=args.downstream,
        states=states_of(only_failed=args.only_failed, only_running=args.only_running),
    )


def _count(number: int) -> str:
    return f"{number} task instance{'' if number == 1 else 's'}"


def _record(dag_id: str, row: Any) -> dict[str, Any]:
    keys = ("run_id", "logical_date", "task_id", "map_index", "state", "try_number")
    return {"dag_id": dag_id, **{key: getattr(row, key) for key in keys}}


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument(
        "-t",
        "--task-regex",
        metavar="REGEX",
        help="only tasks whose id it is found in, with their setups and teardowns",
    )
    parser.add_argument("-u", "--upstream", action="store_true", help="of these, all that they wait for, too")
    parser.add_argument("-d", "--downstream", action="store_true", help="of these, all that waits for them, too")
    parser.add_argument("-s", "--start-date", metavar="T", help="only runs of this logical date or a later one")
    parser.add_argument("-e", "--end-date", metavar="T", help="only runs of this logical date or an earlier one")
    parser.add_argument("--run-id", metavar="RUN", help="only this run (default: all)")
    parser.add_argument("-f", "--only-failed", action="store_true", help="only failed and upstream_failed ones")
    parser.add_argument("-r", "--only-running", action="store_true", help="only running ones: they are stopped first")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be cleared")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_output(parser)


VERBS = {"clear": Verb("make finished task instances run again", _clear, _arguments)}
