"""``hybrid connections …``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runtime.cli.command import UsageError, Verb, add_output
from runtime.cli.output import emit, emit_one
from runtime.cli.vault import (
    add_show_values,
    export_format,
    given,
    hide_arguments,
    open_vault,
    serialized,
    tell_import,
    write_export,
)
from runtime.core.errors import HybridError, NotFoundError

if TYPE_CHECKING:
    from runtime.secrets.connection import Connection

COLUMNS = ("conn_id", "conn_type", "description", "host", "schema", "login", "port")
FORMATS = ("json", "yaml", "env")
_PARTS = ("type", "description", "host", "login", "password", "schema", "port", "extra")


def record(one: Connection, *, show: bool) -> dict[str, Any]:
    """A connection as printed; secrets as ``***`` unless ``show``."""
    from runtime.config.values import masked
    from runtime.secrets.connection import Connection
    from runtime.secrets.masking import MASK, masker

    values = one.to_dict()
    if not show:
        values["password"] = masker.redact(one.password, "password")
        values["extra"] = json.dumps(masker.redact(one.extra_dejson)) if one.extra else None
        values["host"] = masked("host", one.host) if one.host else one.host
    shown = Connection(one.conn_id, **values)
    extra = shown.extra_dejson
    names = ("conn_type", "description", "host", "schema", "login", "password", "port")
    flags = {"is_encrypted": bool(one.password), "is_extra_encrypted": bool(one.extra)}
    return {
        "conn_id": one.conn_id,
        **{name: values[name] for name in names},
        **flags,
        "extra_dejson": extra,
        "get_uri": shown.get_uri() if show else shown.get_uri().replace(quote(MASK, safe=""), MASK),
    }


def _get(args: Namespace) -> int:
    from runtime.db.connections import require_connection

    with open_vault() as vault, vault.database.read() as connection:
        found = require_connection(connection, vault.keyring, args.conn_id)
    emit_one(record(found, show=args.show_values and not args.hide_sensitive), args.output)
    return 0


def _list(args: Namespace) -> int:
    from runtime.db.connections import list_connections

    with open_vault() as vault, vault.database.read() as connection:
        found = list_connections(connection, vault.keyring)
    show = args.show_values and not args.hide_sensitive
    rows = [record(one, show=show) for one in found if args.conn_id in (None, one.conn_id)]
    columns = (*COLUMNS, "password", "extra_dejson") if args.show_values else COLUMNS
    emit(rows, args.output, columns)
    return 0


def _made(args: Namespace) -> Connection:
    """The connection that the arguments describe. Raises :class:`UsageError`, ``SecretsError``."""
    from runtime.secrets.connection import Connection, check_conn_id, parse

    check_conn_id(args.conn_id)
    parts = {name: getattr(args, f"conn_{name}") for name in _PARTS}
    whole = [name for name in ("uri", "json") if getattr(args, f"conn_{name}") is not None]
    single = [name for name in _PARTS if parts[name] is not None and name != "description"]
    if len(whole) > 1 or (whole and single):
        also = whole[1] if len(whole) > 1 else single[0]
        raise UsageError(f"--conn-{whole[0]} says it all; leave out --conn-{also}")
    if whole:
        made = parse(given(getattr(args, f"conn_{whole[0]}")) or "", args.conn_id)
        made.description = parts["description"] or made.description
        return made
    if parts["type"] is None:
        raise UsageError("say what the connection is: --conn-uri, --conn-json, or --conn-type with what else it has")
    parts["password"] = given(parts["password"])
    return Connection(args.conn_id, parts.pop("type"), **parts)


def _save(args: Namespace, *, replace: bool) -> int:
    from runtime.db.connections import add_connection, save_connections

    hide_arguments(f"connections {'set' if replace else 'add'} {args.conn_id}")
    made = _made(args)
    with open_vault() as vault, vault.database.write() as connection:
        if replace:
            save_connections(connection, vault.keyring, {args.conn_id: made}, overwrite=True)
        else:
            add_connection(connection, vault.keyring, made)
    print(f"stored connection {args.conn_id}")
    return 0


def _delete(args: Namespace) -> int:
    from runtime.db.connections import delete_connection

    with open_vault() as vault, vault.database.write() as connection:
        delete_connection(connection, args.conn_id)
    print(f"deleted connection {args.conn_id}")
    return 0


def _import(args: Namespace) -> int:
    from runtime.db.connections import save_connections
    from runtime.secrets.files import read_connections

    found = read_connections(args.file)
    with open_vault() as vault, vault.database.write() as connection:
        done = save_connections(connection, vault.keyring, found, overwrite=args.overwrite)
    tell_import(done, "connection")
    return 0


def _export(args: Namespace) -> int:
    from runtime.db.connections import list_connections

    form = export_format(args.file, args.file_format, FORMATS)
    if form != "env" and args.serialization_format:
        raise UsageError("--serialization-format is for env files; JSON and YAML files hold the single fields")
    with open_vault() as vault, vault.database.read() as connection:
        found = list_connections(connection, vault.keyring)
    write_export(args.file, _text(found, form, args.serialization_format or "uri"))
    if args.file != "-":
        print(f"exported {len(found)} connection{'' if len(found) == 1 else 's'} to {args.file}")
    return 0


def _text(found: list[Connection], form: str, serialization: str) -> str:
    if form != "env":
        return serialized({str(one.conn_id): one.to_dict() for one in found}, form)
    lines = []
    for one in found:
        value = one.get_uri() if serialization == "uri" else one.as_json()
        if "=" in str(one.conn_id):
            raise HybridError(f"connection {one.conn_id!r} cannot stand in an env file; export to JSON")
        lines.append(f"{one.conn_id}={value}")
    return "\n".join(lines)


def _test(args: Namespace) -> int:
    from runtime.cli.command import load_settings
    from runtime.cli.reachability import reach
    from runtime.db.connections import find_connection
    from runtime.secrets.backends import EnvironmentVariablesBackend

    if load_settings().core.test_connection != "Enabled":
        raise HybridError(
            "testing connections is disabled, for it reaches out to whatever host was stored; "
            "set [core] test_connection = Enabled to allow it"
        )
    found = EnvironmentVariablesBackend().get_connection(args.conn_id)
    if found is None:
        with open_vault() as vault, vault.database.read() as connection:
            found = find_connection(connection, vault.keyring, args.conn_id)
    if found is None:
        raise NotFoundError(f"there is no connection {args.conn_id!r}; see `hybrid connections list`")
    print(reach(found, args.timeout))
    return 0


def _conn_id(parser: ArgumentParser) -> None:
    parser.add_argument("conn_id", metavar="CONN_ID")


def _get_arguments(parser: ArgumentParser) -> None:
    _conn_id(parser)
    add_show_values(parser)
    add_output(parser)


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--conn-id", metavar="CONN_ID", help="only this one")
    add_show_values(parser)
    add_output(parser)


def _save_arguments(parser: ArgumentParser) -> None:
    _conn_id(parser)
    parser.add_argument("--conn-uri", metavar="URI", help="all of it as a URI; - reads stdin")
    parser.add_argument("--conn-json", metavar="JSON", help="all of it as a JSON object; - reads stdin")
    for name in _PARTS:
        more = "; - reads stdin, so that it stands in no argument list" if name == "password" else ""
        parser.add_argument(f"--conn-{name}", metavar=name.upper(), help=f"its {name}{more}")


def _import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="JSON, YAML or env file: id = URI, or fields")
    parser.add_argument("--overwrite", action="store_true", help="replace those that exist (default: keep them)")


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="- for stdout")
    parser.add_argument("--file-format", "--format", choices=FORMATS, help="(default: by the file's suffix)")
    parser.add_argument("--serialization-format", choices=("uri", "json"), help="of env files (default: uri)")


def _test_arguments(parser: ArgumentParser) -> None:
    _conn_id(parser)
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SEC", help="(default: 10)")


VERBS = {
    "get": Verb("show a connection", _get, _get_arguments),
    "list": Verb("list the connections of the database", _list, _list_arguments),
    "add": Verb("store a new connection", lambda args: _save(args, replace=False), _save_arguments),
    "set": Verb("store a connection, replacing an old one", lambda args: _save(args, replace=True), _save_arguments),
    "delete": Verb("delete a connection", _delete, _conn_id),
    "import": Verb("store the connections of a file, all or none", _import, _import_arguments),
    "export": Verb("write all connections, with their secrets, to a file", _export, _export_arguments),
    "test": Verb("try whether a connection's host answers", _test, _test_arguments),
}
