"""``hybrid backfill …``, and ``hybrid dags backfill``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import UsageError, Verb, add_output, load_settings
from runtime.cli.moments import parse_conf, parse_moment
from runtime.cli.output import emit, emit_one
from runtime.core import clock

if TYPE_CHECKING:
    from runtime.config import Settings
    from runtime.db.backfills import BackfillOrder
    from runtime.db.engine import Database

COLUMNS = ("id", "dag_id", "state", "from_date", "to_date", "made_runs", "total_runs", "max_active_runs")
DRY_COLUMNS = ("logical_date", "data_interval_end", "action", "run_id")
REPROCESS = ("none", "failed", "completed")


def _create(args: Namespace) -> int:
    from runtime.db.backfills import create_backfill, require_backfill
    from runtime.db.engine import open_database
    from runtime.db.hints import send_hint
    from runtime.db.runs import require_dag

    settings = load_settings()
    order, now = _order(args, settings), clock.now()
    database = open_database(settings)
    if args.dry_run:
        return _show_dates(database, order, now, args.output)
    identifier, dates = database.transact(lambda connection: create_backfill(connection, order, now))
    send_hint(database, settings.home)
    with database.read() as connection:
        paused = require_dag(connection, order.dag_id).is_paused
    if paused:
        _warn(f"DAG {order.dag_id} is paused: its backfill begins with `hybrid dags unpause {order.dag_id}`")
    failed = 0
    if args.wait:
        from runtime.cli.backfill_waiting import wait_for_backfill

        failed = wait_for_backfill(settings, database, identifier, dates).get("failed", 0)
    with database.read() as connection:
        row = require_backfill(connection, identifier)
    emit_one(
        {"id": identifier, "dag_id": order.dag_id, "state": _state(row._mapping), "total_runs": dates}, args.output
    )
    database.close()
    return 1 if failed else 0


def _order(args: Namespace, settings: Settings) -> BackfillOrder:
    from runtime.db.backfills import BackfillOrder
    from runtime.db.reruns import Reprocess

    dag_id = args.dag_id_option or args.dag_id
    if dag_id is None or (args.dag_id and args.dag_id_option):
        raise UsageError("name one DAG, with --dag-id; see `hybrid backfill create --help`")
    first = parse_moment("--from-date", args.from_date, settings.core.default_timezone)
    last = parse_moment("--to-date", args.to_date, settings.core.default_timezone)
    if first is None or last is None:
        raise UsageError("--from-date and --to-date say which logical dates, the last one included")
    return BackfillOrder(
        dag_id=dag_id,
        from_date=first,
        to_date=last,
        conf=parse_conf(args.dag_run_conf, "--dag-run-conf"),
        reprocess=Reprocess(args.reprocess_behavior),
        run_backwards=args.run_backwards,
        max_active_runs=args.max_active_runs,
    )


def _show_dates(database: Database, order: BackfillOrder, now: int, output: str) -> int:
    """What it would do with each date."""
    from runtime.db.backfills import plan_backfill

    with database.read() as connection:
        dates = plan_backfill(connection, order, now)
    database.close()
    records = [
        {
            "logical_date": clock.iso(date.due.logical_date),
            "data_interval_end": clock.iso(date.due.data_interval_end),
            "action": f"skip: {date.outcome}" if date.outcome else "run again" if date.run_id else "create",
            "run_id": date.run_id,
        }
        for date in dates
    ]
    emit(records, output, DRY_COLUMNS)
    return 0


def _list(args: Namespace) -> int:
    from runtime.db.backfills import list_backfills
    from runtime.db.engine import open_database

    with open_database(load_settings()).read() as connection:
        found = list_backfills(connection, args.dag_id)
    emit([_record(one) for one in found], args.output, COLUMNS)
    return 0


def _record(row: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "dag_id", "reprocess_behavior", "run_backwards", "max_active_runs", "total_runs", "made_runs")
    times = ("from_date", "to_date", "created_at", "completed_at")
    return {
        **{name: row[name] for name in shown},
        **{name: clock.iso(row[name]) for name in times},
        "state": _state(row),
        "skipped_runs": row["told_runs"] - row["made_runs"],
    }


def _state(row: Any) -> str:
    if row["completed_at"] is not None:
        return str(row["reason"] or "completed")
    return "paused" if row["is_paused"] else "running"


def _change(args: Namespace, paused: bool | None) -> int:
    """Pause, go on, or (``None``) cancel."""
    from runtime.db.backfills import cancel_backfill, require_backfill, set_backfill_paused
    from runtime.db.engine import open_database
    from runtime.db.hints import send_hint

    settings = load_settings()
    database = open_database(settings)
    if paused is None:
        database.transact(lambda connection: cancel_backfill(connection, args.backfill_id, clock.now()))
    else:
        database.transact(lambda connection: set_backfill_paused(connection, args.backfill_id, paused))
    send_hint(database, settings.home)
    with database.read() as connection:
        row = require_backfill(connection, args.backfill_id)
    emit_one({"id": row.id, "dag_id": row.dag_id, "state": _state(row._mapping)}, args.output)
    database.close()
    return 0


def _warn(text: str) -> None:
    import sys

    print(f"hybrid: warning: {text}", file=sys.stderr)


def _create_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG", nargs="?", help="the DAG; or say --dag-id")
    parser.add_argument("--dag-id", dest="dag_id_option", metavar="DAG", help="the DAG")
    parser.add_argument("-s", "--from-date", "--start-date", metavar="T", help="first logical date, ISO-8601")
    parser.add_argument("-e", "--to-date", "--end-date", metavar="T", help="last logical date, ISO-8601")
    parser.add_argument("-c", "--dag-run-conf", "--conf", metavar="JSON", help="object that tasks read as dag_run.conf")
    parser.add_argument(
        "--reprocess-behavior",
        choices=REPROCESS,
        default="none",
        help="which of the runs that are there run again (default: none)",
    )
    parser.add_argument("--max-active-runs", type=int, default=10, metavar="N", help="runs at once (default: 10)")
    parser.add_argument("-B", "--run-backwards", action="store_true", help="the newest date first")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--wait", action="store_true", help="wait for the end; exit 1 when a run fails")
    add_output(parser)


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dag-id", metavar="DAG", help="only those of this DAG")
    add_output(parser)


def _one_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backfill_id", type=int, metavar="ID", help="as `hybrid backfill list` shows it")
    add_output(parser)


CREATE = Verb("make the runs of a stretch of the past", _create, _create_arguments)
VERBS = {
    "create": CREATE,
    "list": Verb("list backfills, newest first", _list, _list_arguments),
    "pause": Verb("make no new runs of a backfill", lambda args: _change(args, True), _one_arguments),
    "unpause": Verb("go on with a backfill", lambda args: _change(args, False), _one_arguments),
    "cancel": Verb("end a backfill: what runs goes on", lambda args: _change(args, None), _one_arguments),
}
