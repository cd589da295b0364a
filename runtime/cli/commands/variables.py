"""``hybrid variables …``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from runtime.cli.command import Verb, add_output
from runtime.cli.output import emit
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
from runtime.core.errors import HybridError

FORMATS = ("json", "yaml", "env")
_WRAPPED = {"value", "description"}


def _get(args: Namespace) -> int:
    from runtime.db.variables import find_variable, require_variable

    with open_vault() as vault, vault.database.read() as connection:
        look = require_variable if args.default is None else find_variable
        value = look(connection, vault.keyring, args.key)
    if value is None:
        print(args.default)
        return 0
    if args.json:
        try:
            value = json.dumps(json.loads(value), ensure_ascii=False)
        except (ValueError, RecursionError):
            raise HybridError(f"variable {args.key!r} is no JSON; get it without --json") from None
    print(value)
    return 0


def _set(args: Namespace) -> int:
    from runtime.authoring.secrets import check_key
    from runtime.db.variables import save_variable

    hide_arguments(f"variables set {args.key}")
    check_key(args.key)
    value = given(args.value) or ""
    if args.json:
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            raise HybridError("the value is no JSON, and --json says that it is") from None
    with open_vault() as vault, vault.database.write() as connection:
        save_variable(connection, vault.keyring, args.key, value, args.description)
    print(f"stored variable {args.key}")
    return 0


def _list(args: Namespace) -> int:
    from runtime.db.variables import list_variables
    from runtime.secrets.masking import masker

    with open_vault() as vault, vault.database.read() as connection:
        found = list_variables(connection, vault.keyring)
    rows = []
    for one in found:
        row: dict[str, Any] = {"key": one.key, "description": one.description, "is_encrypted": True}
        if args.show_values:
            row["value"] = masker.redact(one.value, one.key) if args.hide_sensitive else one.value
        rows.append(row)
    emit(rows, args.output, ("key", "value", "description") if args.show_values else ("key", "description"))
    return 0


def _delete(args: Namespace) -> int:
    from runtime.db.variables import drop_variable

    with open_vault() as vault, vault.database.write() as connection:
        drop_variable(connection, args.key)
    print(f"deleted variable {args.key}")
    return 0


def _import(args: Namespace) -> int:
    from runtime.authoring.secrets import check_key
    from runtime.db.variables import import_variables
    from runtime.secrets.errors import SecretsError
    from runtime.secrets.files import read_mapping

    found = {key: _wrapped(value, f"{args.file}: variable {key!r}") for key, value in read_mapping(args.file).items()}
    try:
        for key in found:
            check_key(key)
        with open_vault() as vault, vault.database.write() as connection:
            done = import_variables(connection, vault.keyring, found, args.action_on_existing_key)
    except SecretsError as error:
        raise SecretsError(f"{args.file}: {error}; nothing was imported") from None
    tell_import(done, "variable")
    return 0


def _wrapped(value: Any, whose: str) -> tuple[str, str | None]:
    """Value and description: of ``{"value": …, "description": …}``, else of the value itself."""
    from runtime.secrets.errors import SecretsError
    from runtime.secrets.files import variable_text

    if not isinstance(value, dict) or "value" not in value or not set(value) <= _WRAPPED:
        return variable_text(value, whose), None
    description = value.get("description")
    if description is not None and not isinstance(description, str):
        raise SecretsError(f"{whose}: its description must be a text")
    return variable_text(value["value"], whose), description


def _export(args: Namespace) -> int:
    from runtime.db.variables import list_variables

    form = export_format(args.file, args.file_format, FORMATS)
    with open_vault() as vault, vault.database.read() as connection:
        found = list_variables(connection, vault.keyring)
    if form == "env":
        for one in found:
            if "\n" in one.value or "=" in one.key or one.value != one.value.strip():
                raise HybridError(f"variable {one.key!r} cannot stand in an env file; export to JSON")
        text = "\n".join(f"{one.key}={one.value}" for one in found)
    else:
        text = serialized({one.key: _exported(one.value, one.description) for one in found}, form)
    write_export(args.file, text)
    if args.file != "-":
        print(f"exported {len(found)} variable{'' if len(found) == 1 else 's'} to {args.file}")
    return 0


def _exported(value: str, description: str | None) -> Any:
    """What :func:`_wrapped` makes the same of: objects and lists as such, any other text as it is."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    plain = found if isinstance(found, dict | list) else value
    wraps = isinstance(plain, dict) and "value" in plain and set(plain) <= _WRAPPED
    return {"value": plain, "description": description} if description or wraps else plain


def _key(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY")


def _get_arguments(parser: ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("-d", "--default", metavar="VALUE", help="printed where there is no such variable")
    parser.add_argument("-j", "--json", "--deserialize-json", action="store_true", help="read it as JSON")


def _set_arguments(parser: ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("value", metavar="VALUE", help="- reads stdin, so that it stands in no argument list")
    parser.add_argument("--description", metavar="TEXT")
    parser.add_argument("-j", "--json", "--serialize-json", action="store_true", help="make sure that it is JSON")


def _list_arguments(parser: ArgumentParser) -> None:
    add_show_values(parser)
    add_output(parser)


def _import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="JSON, YAML or env file: key = value")
    parser.add_argument(
        *("-a", "--action-on-existing-key"),
        choices=("overwrite", "fail", "skip"),
        default="overwrite",
        help="(default: overwrite)",
    )


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="- for stdout")
    parser.add_argument("--file-format", choices=FORMATS, help="(default: by the file's suffix)")


VERBS = {
    "get": Verb("print the value of a variable", _get, _get_arguments),
    "set": Verb("store a variable", _set, _set_arguments),
    "list": Verb("list the variables of the database", _list, _list_arguments),
    "delete": Verb("delete a variable", _delete, _key),
    "import": Verb("store the variables of a file, all or none", _import, _import_arguments),
    "export": Verb("write all variables, with their values, to a file", _export, _export_arguments),
}
