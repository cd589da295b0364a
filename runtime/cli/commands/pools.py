"""``hybrid pools …``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Verb, add_output
from runtime.cli.output import emit
from runtime.cli.vault import export_format, open_vault, serialized, tell_import, write_export
from runtime.core.errors import HybridError

if TYPE_CHECKING:
    from runtime.db.pools import Pool

COLUMNS = ("pool", "slots", "description", "running", "queued", "open")
FORMATS = ("json", "yaml")
_KNOWN = ("slots", "description", "include_deferred")


def _list(args: Namespace) -> int:
    from runtime.db.pools import list_pools

    with open_vault() as vault, vault.database.read() as connection:
        emit(list_pools(connection), args.output, COLUMNS)
    return 0


def _get(args: Namespace) -> int:
    from runtime.db.pools import require_pool

    with open_vault() as vault, vault.database.read() as connection:
        emit([require_pool(connection, args.pool)], args.output, COLUMNS)
    return 0


def _set(args: Namespace) -> int:
    from runtime.db.pools import Pool, require_pool

    if args.include_deferred:
        _warn_deferred()
    pool = Pool(args.pool, args.slots, args.description)
    _store([pool])
    with open_vault() as vault, vault.database.read() as connection:
        emit([require_pool(connection, args.pool)], args.output, COLUMNS)
    return 0


def _delete(args: Namespace) -> int:
    from runtime.db.pools import delete_pool

    with open_vault() as vault, vault.database.write() as connection:
        delete_pool(connection, args.pool)
    print(f"deleted pool {args.pool}")
    return 0


def _import(args: Namespace) -> int:
    from runtime.db.pools import list_pools
    from runtime.secrets.files import read_mapping

    pools = [_read(name, found, args.file) for name, found in read_mapping(args.file).items()]
    with open_vault() as vault, vault.database.read() as connection:
        known = {record["pool"] for record in list_pools(connection)}
    _store(pools)
    created = [pool.name for pool in pools if pool.name not in known]
    replaced = [pool.name for pool in pools if pool.name in known]
    tell_import({"created": created, "replaced": replaced, "kept": []}, "pool")
    return 0


def _read(name: str, found: Any, file: str) -> Pool:
    """One pool of an import file. Raises :class:`HybridError` that names file and pool."""
    from runtime.db.pools import Pool

    where = f"{file}: pool {name!r}"
    if not isinstance(found, dict):
        raise HybridError(f'{where} must be an object such as {{"slots": 5, "description": ""}}')
    if unknown := sorted(str(key) for key in found if key not in _KNOWN):
        raise HybridError(f"{where}: unknown key {unknown[0]!r}; it may have {', '.join(_KNOWN)}")
    slots, description = found.get("slots"), found.get("description", "")
    if not isinstance(slots, int) or isinstance(slots, bool):
        raise HybridError(f"{where}: slots must be a whole number, not {slots!r}")
    if not isinstance(description, str):
        raise HybridError(f"{where}: its description must be a text")
    pool = Pool(name, slots, description)
    try:
        pool.check()
    except HybridError as error:
        raise HybridError(f"{file}: {error}") from None
    if found.get("include_deferred"):
        _warn_deferred()
    return pool


def _export(args: Namespace) -> int:
    from runtime.db.pools import list_pools

    form = export_format(args.file, None, FORMATS)
    with open_vault() as vault, vault.database.read() as connection:
        found = list_pools(connection)
    records = {
        one["pool"]: {"slots": one["slots"], "description": one["description"], "include_deferred": False}
        for one in found
    }
    write_export(args.file, serialized(records, form))
    if args.file != "-":
        print(f"exported {len(found)} pool{'' if len(found) == 1 else 's'} to {args.file}")
    return 0


def _store(pools: list[Pool]) -> None:
    from runtime.db.hints import send_hint
    from runtime.db.pools import save_pools

    with open_vault() as vault:
        vault.database.transact(lambda connection: save_pools(connection, pools))
        send_hint(vault.database, vault.settings.home)


def _warn_deferred() -> None:
    print("hybrid: warning: include_deferred has no effect yet: no task is deferred", file=sys.stderr)


def _pool(parser: ArgumentParser) -> None:
    parser.add_argument("pool", metavar="POOL")


def _get_arguments(parser: ArgumentParser) -> None:
    _pool(parser)
    add_output(parser)


def _set_arguments(parser: ArgumentParser) -> None:
    _pool(parser)
    parser.add_argument("slots", type=int, metavar="SLOTS", help="-1 is unlimited")
    parser.add_argument("description", metavar="DESCRIPTION", nargs="?", default="")
    parser.add_argument("--include-deferred", action="store_true", help="taken as Airflow has it; no effect yet")
    add_output(parser)


def _file(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="JSON or YAML; - is stdout for an export")


VERBS = {
    "list": Verb("list the pools and how full they are", _list, add_output),
    "get": Verb("show a pool", _get, _get_arguments),
    "set": Verb("create or change a pool", _set, _set_arguments),
    "delete": Verb("delete a pool", _delete, _pool),
    "import": Verb("create or change the pools of a file, all or none", _import, _file),
    "export": Verb("write all pools to a file", _export, _file),
}
