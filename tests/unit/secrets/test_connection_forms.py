"""A connection as URI, as JSON and as fields is one and the same; what is none is said without quoting it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.secrets.connection import Connection, check_conn_id, parse
from runtime.secrets.errors import SecretsError

PRINTED = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
HOST = st.from_regex(r"[A-Za-z0-9.-]{1,30}", fullmatch=True)


@given(
    PRINTED,
    PRINTED,
    HOST,
    st.integers(0, 65_535),
    PRINTED,
    st.dictionaries(PRINTED, st.none() | st.integers() | PRINTED),
)
def test_uri_and_json_lose_nothing(login, password, host, port, schema, extra):
    one = Connection("c", "postgres", None, host, login, password, schema, port, extra)
    for form in (one.get_uri(), one.as_json()):
        again = parse(form, "c")
        assert (again.login, again.password, again.host, again.port) == (login, password, host, port)
        assert again.schema == schema
        assert again.extra_dejson == extra


@pytest.mark.parametrize(
    ("uri", "fields"),
    [
        ("postgresql://u:p%40x@h:5/db?a=b", ("postgres", "h", "u", "p@x", "db", 5, {"a": "b"})),
        ("google-cloud://?__extra__=%7B%22a%22%3A+1%7D", ("google_cloud", "", None, None, "", None, {"a": 1})),
        ("http://https://api.example.com/v1", ("http", "https://api.example.com", None, None, "v1", None, {})),
        ("redis://:pw@[::1]:6379/1", ("redis", "::1", None, "pw", "1", 6379, {})),
        ("aws://", ("aws", "", None, None, "", None, {})),
    ],
)  # fmt: skip
def test_uris_as_airflow_reads_them(uri, fields):
    one = parse(uri, "c")
    assert (one.conn_type, one.host, one.login, one.password, one.schema, one.port, one.extra_dejson) == fields


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("CANARY", "connection 'c': it is neither a URI, type://login:password@host:port/schema, nor JSON"),
        ("x://u:CANARY@h:port/", "connection 'c': its URI has a bad host or port"),
        ('{"password": "CANARY"', "connection 'c' is no JSON object"),
        ('{"passwort": "CANARY"}', "connection 'c': unknown key 'passwort'; it may have conn_type,"),
        ('{"port": "CANARY"}', "connection 'c': port must be a number of 0 to 65535"),
        ('{"extra": "CANARY"}', "connection 'c': extra is no JSON object"),
        ('{"extra": "[1]"}', "connection 'c': extra must be a JSON object such as"),
        ('{"login": ["CANARY"]}', "connection 'c': login must be a text, not of type list"),
        ('{"uri": "x://h", "host": "CANARY"}', "connection 'c': give a URI or the single fields, not both"),
    ],
)
def test_what_is_none_is_one_line_without_its_words(value, message):
    with pytest.raises(SecretsError) as raised:
        parse(value, "c")
    assert str(raised.value).startswith(message)
    assert "CANARY" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("conn_id", ["", " a", "a\nb", "x" * 251, "a\0"])
def test_bad_ids(conn_id):
    with pytest.raises(SecretsError, match="is not allowed; use letters, digits"):
        check_conn_id(conn_id)


def test_repr_shows_no_secret():
    one = Connection("c", "x", password="CANARY-1", extra={"k": "CANARY-2"})
    assert "CANARY" not in f"{one!r} {one}"
