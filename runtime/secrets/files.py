"""Connections, variables and pools in JSON, YAML and env files: whole or not at all, with the place of a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.secrets.connection import Connection, check_conn_id, parse
from runtime.secrets.errors import SecretsError

SUFFIXES = (".json", ".yaml", ".yml", ".env")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The object in a file; of an ``.env`` file texts. Raises :class:`SecretsError`, which quotes nothing of it."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SecretsError(f"{path}: the file must end in {', '.join(SUFFIXES)}, which say its format")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretsError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SecretsError(f"{path} is no UTF-8 text (byte {error.start})") from None
    found = _PARSERS[suffix](text, path)
    if not isinstance(found, dict):
        raise SecretsError(f"{path} must hold an object, name: value; it holds a {_kind(found)}")
    for key in found:
        if not isinstance(key, str):
            raise SecretsError(f"{path}: the name {key!r} must be a text; put it in quotes")
    return found


def read_connections(path: str | Path) -> dict[str, Connection]:
    """By id. Raises :class:`SecretsError` that names file and connection."""
    found = {}
    for conn_id, value in read_mapping(path).items():
        try:
            check_conn_id(conn_id)
            found[conn_id] = parse(value, conn_id) if isinstance(value, str) else Connection.from_dict(value, conn_id)
        except SecretsError as error:
            raise SecretsError(f"{path}: {error}") from None
    return found


def read_variables(path: str | Path) -> dict[str, str]:
    """Values that are no texts as JSON. Raises :class:`SecretsError`."""
    return {key: variable_text(value, f"{path}: variable {key!r}") for key, value in read_mapping(path).items()}


def variable_text(value: Any, whose: str) -> str:
    """How a value is stored: a text as it is, anything else as JSON. Raises :class:`SecretsError`."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise SecretsError(f"{whose}: its value, of type {type(value).__name__}, is no JSON") from None


def _json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise SecretsError(f"{path}: {twice!r} stands twice; keep one")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise SecretsError(f"{path}:{error.lineno}: no JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise SecretsError(f"{path}: it is nested too deeply") from None


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise SecretsError(f"{path}: YAML needs the package pyyaml; install it, or use JSON") from None
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SecretsError(f"{path}:{line}: no YAML: {error.problem or 'bad syntax'}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise SecretsError(f"{path} is no YAML") from None


def _env(text: str, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key = key.strip().removeprefix("export ").strip()
        if not equals or not key:
            raise SecretsError(f"{path}:{number}: expected NAME=value")
        if key in found:
            raise SecretsError(f"{path}:{number}: {key!r} stands twice; keep one")
        found[key] = value.strip()
    return found


def _kind(value: Any) -> str:
    return {"list": "list", "NoneType": "nothing", "str": "text"}.get(type(value).__name__, type(value).__name__)


_PARSERS = {".json": _json, ".yaml": _yaml, ".yml": _yaml, ".env": _env}
