"""``hybrid executors drain``, ``pause``, ``resume`` and ``set-parallelism``: orders that every scheduler follows."""

from __future__ import annotations

import getpass
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from executors.names import lookup, parse_executors
from runtime.cli.command import UsageError, Verb, add_output, load_settings
from runtime.cli.output import emit_one
from runtime.config import Settings
from runtime.core import clock
from runtime.db.orders import Mode, Order

if TYPE_CHECKING:
    from runtime.db.engine import Database

PATIENCE = 5.0
"""Seconds in which the schedulers have to follow; one that is stuck does not."""
_LOOK = 0.1
COLUMNS = ("name", "mode", "parallelism", "schedulers", "followed", "queued", "running")
Give = Callable[[Any, str, str], Order]
"""``(connection, executor, actor)`` → the order, written."""


def _set_mode(args: Namespace, mode: Mode) -> int:
    from runtime.db.orders import give_mode

    return _order(args, lambda connection, name, actor: give_mode(connection, name, mode, at=clock.now(), actor=actor))


def _set_parallelism(args: Namespace) -> int:
    from runtime.db.orders import give_parallelism

    slots = _slots(args.parallelism)
    return _order(
        args, lambda connection, name, actor: give_parallelism(connection, name, slots, at=clock.now(), actor=actor)
    )


def _slots(text: str) -> int | None:
    if text == "default":
        return None
    if not text.isdecimal():
        raise UsageError(f"{text!r} is neither a whole number of slots, 0 for unlimited, nor `default`")
    return int(text)


def _order(args: Namespace, give: Give) -> int:
    """Exit code 1 where a live scheduler does not follow in time, or what was to drain is not empty in time."""
    from runtime.db.engine import open_database
    from runtime.db.hints import send_hint

    settings = load_settings()
    name = lookup(parse_executors(settings.core.executor), args.name).name
    database = open_database(settings)
    with database.write() as connection:
        order = give(connection, name, getpass.getuser())
    send_hint(database, settings.home)
    shown = _watch(settings, database, order, time.monotonic() + PATIENCE, until=lambda row: row["followed"])
    wait = getattr(args, "wait", None)
    if wait is not None:
        shown = _watch(settings, database, order, time.monotonic() + wait, until=_is_empty)
    database.close()
    emit_one({key: shown[key] for key in COLUMNS}, args.output)
    return _judge(shown, must_be_empty=wait is not None)


def _judge(shown: dict[str, Any], *, must_be_empty: bool) -> int:
    if not shown["schedulers"]:
        print("hybrid: no scheduler runs; the order stands, and will be followed by the next one", file=sys.stderr)
        return 0
    if not shown["followed"]:
        print(f"hybrid: not every scheduler has followed within {PATIENCE:g} s; the order stands", file=sys.stderr)
        return 1
    if must_be_empty and not _is_empty(shown):
        print(f"hybrid: {shown['name']} is not empty yet; the order stands", file=sys.stderr)
        return 1
    return 0


def _is_empty(shown: dict[str, Any]) -> bool:
    return int(shown["queued"] + shown["running"]) == 0


def _watch(
    settings: Settings, database: Database, order: Order, deadline: float, until: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """How the order is followed, once ``until`` holds of it, no scheduler lives, or the time is over."""
    from runtime.db.queries import executor_statuses

    threshold = int(settings.scheduler.scheduler_health_check_threshold * clock.SECOND)
    while True:
        with database.read() as connection:
            rows = [
                row for row in executor_statuses(connection, since=clock.now() - threshold) if row["name"] == order.name
            ]
        shown = {
            "name": order.name,
            "mode": str(order.mode),
            "parallelism": "default" if order.parallelism is None else order.parallelism,
            "schedulers": len(rows),
            "followed": all((row["order_id"] or 0) >= order.id for row in rows),
            "queued": sum(row["queued"] for row in rows),
            "running": sum(row["running"] for row in rows),
        }
        if not rows or until(shown) or time.monotonic() >= deadline:
            return shown
        time.sleep(_LOOK)


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the executor's alias, or its name in [core] executor")
    add_output(parser)


def _add_wait(parser: ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument(
        "--wait", type=float, nargs="?", const=3600.0, metavar="SEC", help="until it is empty (default: an hour)"
    )


def _add_parallelism(parser: ArgumentParser) -> None:
    _add_name(parser)
    parser.add_argument("parallelism", metavar="N", help="slots per scheduler, 0 for unlimited; or `default`")


_drain, _pause, _resume = (partial(_set_mode, mode=mode) for mode in (Mode.DRAINING, Mode.PAUSED, Mode.ACTIVE))
ORDERS = {
    "drain": Verb("have an executor take nothing new, so that it gets empty", _drain, _add_wait),
    "pause": Verb("have an executor take nothing new, until `resume`", _pause, _add_name),
    "resume": Verb("have an executor take work again", _resume, _add_name),
    "set-parallelism": Verb("change how many slots an executor has", _set_parallelism, _add_parallelism),
}
"""They stand until another one is given, over restarts too."""
