"""A connection: where a system is and how to log in there, under Airflow's names, as URI and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from runtime.secrets.errors import ConnectionNotFound, SecretsError
from runtime.secrets.masking import masker

FIELDS = ("conn_type", "description", "host", "schema", "login", "password", "port", "extra")
"""In the order in which they are shown."""
_EXTRA = "__extra__"
_LONGEST_ID = 250
_ID_CHARACTERS = frozenset("-_.:/+@ ")


class Connection:
    """Its fields are plain attributes; ``extra`` is JSON text. What is secret is masked from its making on.

    :param uri: instead of the fields from ``conn_type`` on.
    :param extra: a mapping, or JSON text of one.

    Raises :class:`SecretsError` for what is none; the message quotes no value.
    """

    def __init__(
        self,
        conn_id: str | None = None,
        conn_type: str | None = None,
        description: str | None = None,
        host: str | None = None,
        login: str | None = None,
        password: str | None = None,
        schema: str | None = None,
        port: int | str | None = None,
        extra: str | Mapping[str, Any] | None = None,
        uri: str | None = None,
    ) -> None:
        self.conn_id = conn_id
        self.description = description
        if uri is not None:
            if any((conn_type, host, login, password, schema, port, extra)):
                raise SecretsError(f"{self._whose}: give a URI or the single fields, not both")
            parts = _from_uri(uri, self._whose)
        else:
            parts = {"conn_type": conn_type, "host": host, "login": login, "password": password}
            parts |= {"schema": schema, "port": port, "extra": extra}
        self.conn_type: str = _conn_type(parts.get("conn_type"))
        self.host: str | None = _text(parts, "host", self._whose)
        self.login: str | None = _text(parts, "login", self._whose)
        self.password: str | None = _text(parts, "password", self._whose)
        self.schema: str | None = _text(parts, "schema", self._whose)
        self.port: int | None = _port(parts.get("port"), self._whose)
        self.extra: str | None = _extra(parts.get("extra"), self._whose)
        masker.add(self.password)
        masker.add(self.extra, "")

    def __repr__(self) -> str:
        return f"<Connection {self.conn_id} of type {self.conn_type or 'none'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and (self.conn_id, self.to_dict()) == (other.conn_id, other.to_dict())

    def __hash__(self) -> int:
        return hash((self.conn_id, self.conn_type, self.host, self.login, self.schema, self.port))

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """``extra`` as a dictionary; empty where it is none."""
        found = json.loads(self.extra) if self.extra and self.extra.lstrip()[:1] == "{" else {}
        return dict(found)

    @property
    def _whose(self) -> str:
        return f"connection {self.conn_id!r}" if self.conn_id else "a connection"

    def get_password(self) -> str | None:
        """The password, as Airflow has it."""
        return self.password

    def get_extra(self) -> str | None:
        """The extra, as Airflow has it."""
        return self.extra

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """Look it up: secrets backend, environment, database.

        Raises :class:`~runtime.secrets.errors.ConnectionNotFound` (Airflow: ``AirflowNotFoundException``).
        """
        from runtime.secrets.access import find_connection

        found = find_connection(conn_id)
        if found is None:
            raise ConnectionNotFound(
                f"there is no connection {conn_id!r}; add it with `hybrid connections add`, or set HYBRID_CONN_…"
            )
        return found

    get_connection_from_secrets = get

    def to_dict(self) -> dict[str, Any]:
        """By field, ``None`` where there is nothing; ``extra`` as text. With the secrets."""
        return {name: getattr(self, name) for name in FIELDS}

    def as_json(self) -> str:
        """JSON of the fields that are set, ``extra`` as an object. With the secrets."""
        values = {name: value for name, value in self.to_dict().items() if value not in (None, "")}
        if self.extra_dejson:
            values["extra"] = self.extra_dejson
        return json.dumps(values)

    @classmethod
    def from_json(cls, value: str, conn_id: str | None = None) -> Connection:
        """Raises :class:`SecretsError`."""
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            raise SecretsError(f"connection {conn_id!r} is no JSON object") from None
        return cls.from_dict(found, conn_id)

    @classmethod
    def from_dict(cls, found: Any, conn_id: str | None = None) -> Connection:
        """Of the fields, or of one key ``uri``. Raises :class:`SecretsError` that names a key nobody knows."""
        if not isinstance(found, dict):
            raise SecretsError(f"connection {conn_id!r} must be an object with conn_type, host, …")
        fields = {str(key): item for key, item in found.items()}
        for ignored in ("conn_id", "id", "is_encrypted", "is_extra_encrypted"):
            fields.pop(ignored, None)
        if "extra_dejson" in fields:
            fields["extra"] = fields.pop("extra_dejson")
        unknown = sorted(set(fields) - {*FIELDS, "uri"})
        if unknown:
            raise SecretsError(
                f"connection {conn_id!r}: unknown key {unknown[0]!r}; it may have {', '.join(FIELDS)}, or uri"
            )
        return cls(conn_id, **fields)

    def get_uri(self) -> str:
        """``type://login:password@host:port/schema?extra``, every part quoted. With the secrets."""
        host, scheme = self.host or "", ""
        if "://" in host:
            scheme, host = host.split("://", 1)
            scheme += "://"
        login = quote(self.login, safe="") if self.login is not None else ""
        if self.password is not None:
            login += ":" + quote(self.password, safe="")
        uri = f"{self.conn_type.replace('_', '-')}://{scheme}" + (f"{login}@" if login else "") + quote(host, safe="")
        if self.port is not None:
            uri += f":{self.port}"
        if self.schema is not None or self.extra or self.port is not None or host:
            uri += "/" + quote(self.schema or "", safe="")
        return uri + (f"?{self._query()}" if self.extra else "")

    def _query(self) -> str:
        extra = self.extra_dejson
        plain = extra and all(isinstance(item, str) and item and key != _EXTRA for key, item in extra.items())
        return urlencode(extra if plain else {_EXTRA: self.extra})


def parse(value: str, conn_id: str | None = None) -> Connection:
    """A connection from a URI, or from JSON where it begins with ``{``. Raises :class:`SecretsError`."""
    text = value.strip()
    return Connection.from_json(text, conn_id) if text.startswith("{") else Connection(conn_id, uri=text)


def check_conn_id(conn_id: str) -> None:
    """Raise :class:`SecretsError` for an id that cannot be stored or named."""
    good = conn_id and all(character.isalnum() or character in _ID_CHARACTERS for character in conn_id)
    if not good or len(conn_id) > _LONGEST_ID or conn_id != conn_id.strip():
        raise SecretsError(
            f"connection id {conn_id[:60]!r} is not allowed; use letters, digits and -_.:/+@ (at most {_LONGEST_ID})"
        )


def _conn_type(value: Any) -> str:
    name = str(value or "").strip().lower().replace("-", "_")
    return "postgres" if name == "postgresql" else name


def _text(parts: Mapping[str, Any], name: str, whose: str) -> str | None:
    value = parts.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SecretsError(f"{whose}: {name} must be a text, not of type {type(value).__name__}")


def _port(value: Any, whose: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 <= port <= 65_535 or isinstance(value, bool):
        raise SecretsError(f"{whose}: port must be a number of 0 to 65535")
    return port


def _extra(value: Any, whose: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, Mapping):
        try:
            return json.dumps(dict(value))
        except (TypeError, ValueError):
            raise SecretsError(f"{whose}: extra holds something that is no JSON") from None
    if not isinstance(value, str):
        raise SecretsError(f"{whose}: extra must be a JSON object, not of type {type(value).__name__}")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise SecretsError(f"{whose}: extra is no JSON object") from None
    if not isinstance(found, dict):
        raise SecretsError(f'{whose}: extra must be a JSON object such as \'{{"region": "eu"}}\'')
    return value


def _from_uri(uri: str, whose: str) -> dict[str, Any]:
    scheme, separator, rest = uri.partition("://")
    if not separator or not scheme or not scheme.replace("-", "").replace("_", "").replace("+", "").isalnum():
        raise SecretsError(f"{whose}: it is neither a URI, type://login:password@host:port/schema, nor JSON")
    protocol, separator, inner = rest.partition("://")
    if separator and "@" not in protocol and "/" not in protocol and "?" not in protocol:
        rest = inner
    else:
        protocol = ""
    try:
        parts = urlsplit(f"x://{rest}")
        userinfo, at, place = parts.netloc.rpartition("@")
        port = urlsplit(f"x://{place}").port
    except ValueError:
        raise SecretsError(
            f"{whose}: its URI has a bad host or port; write @:/?#%[] in a password as %40 and so on"
        ) from None
    login, colon, password = userinfo.partition(":")
    host = _host_of(place)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return {
        "conn_type": scheme,
        "host": f"{protocol}://{unquote(host)}" if protocol else unquote(host),
        "login": unquote(login) if at and login else None,
        "password": unquote(password) if colon else None,
        "schema": unquote(parts.path[1:]) if parts.path[1:] else "",
        "port": port,
        "extra": query.get(_EXTRA, query or None),
    }


def _host_of(place: str) -> str:
    """Without the port; the case is kept, for it may be an account or a path."""
    if place.startswith("["):
        return place.partition("]")[0][1:]
    return place.rpartition(":")[0] if ":" in place else place
