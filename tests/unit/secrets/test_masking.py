"""What is hidden, and what is left alone."""

from __future__ import annotations

import json
from collections import namedtuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.secrets.masking import Masker

SECRET = "p@ss/wörd\"'1"


@pytest.fixture
def masker() -> Masker:
    return Masker()


@pytest.mark.parametrize("secret", ["", None, "a", "1234", True, {}, [], "    "])
def test_an_empty_or_short_secret_hides_nothing(masker, secret):
    """Or a log of an empty password would be nothing but stars."""
    masker.add(secret)
    assert masker.pattern is None
    assert masker.text("a 1234 True") == "a 1234 True"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        f"postgres://user:{quote(SECRET, safe='')}@host",
        "p%40ss%2Fw%C3%B6rd%22%271",
        json.dumps({"deep": [SECRET]}),
        json.dumps({"deep": [SECRET]}, ensure_ascii=False),
        repr([SECRET]),
        f"{SECRET}{SECRET}",
    ],
)
def test_a_secret_is_found_as_it_is_in_urls_json_and_repr(masker, shown):
    masker.add(SECRET)
    hidden = masker.text(f"<{shown}>")
    assert "***" in hidden
    assert "rd" not in hidden


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [("password", True), ("DB_Password_2", True), ("my_API_KEY", True), ("host", False), ("", False), (None, False)],
)
def test_names_that_make_a_secret(masker, name, sensitive):
    assert masker.is_sensitive(name) is sensitive


def test_a_named_value_is_a_secret_only_under_a_sensitive_name(masker):
    masker.add("production", "environment")
    assert masker.pattern is None
    masker.add("tok-12345", "github_token")
    assert masker.text("production tok-12345") == "production ***"


def test_of_nested_data_only_sensitive_items_are_secrets_also_in_json_text(masker):
    masker.add({"host": "db.example", "auth": [{"private_key": "key-12345"}]}, "")
    masker.add('{"region": "eu-west", "token": "tok-12345"}', "settings")
    assert masker.text("db.example key-12345 eu-west tok-12345") == "db.example *** eu-west ***"


def test_lines_of_a_secret_are_hidden_one_by_one(masker):
    masker.add("-----BEGIN-----\nAAAABBBB\n-----END-----")
    assert masker.text("log: AAAABBBB") == "log: ***"


def test_the_longer_of_two_secrets_goes_first(masker):
    masker.add("secret")
    masker.add("secret-longer")
    assert masker.text("secret-longer") == "***"


def test_redact_keeps_the_shape(masker):
    masker.add("value-of-secret")
    pair = namedtuple("pair", "user password")  # noqa: PYI024  it is what users have
    data = {
        "password": {"old": "x", "new": ["y", None, "", True, 5]},
        "list": ({"token": "t"}, "has value-of-secret"),
        "json": '{"api_key": "k", "n": 1}',
        "pair": pair("u", "p"),
    }
    assert masker.redact(data) == {
        "password": {"old": "***", "new": ["***", None, "", True, "***"]},
        "list": ({"token": "***"}, "has ***"),
        "json": '{"api_key": "***", "n": 1}',
        "pair": pair("u", "***"),
    }


def test_own_words_and_none_at_all(masker):
    masker.configure(["Geheim "])
    assert masker.redact({"das_geheimnis": "x", "password": "y"}) == {"das_geheimnis": "***", "password": "***"}
    masker.configure(["geheim"], by_name=False)
    assert masker.redact({"geheim": "x", "password": "y"}) == {"geheim": "x", "password": "y"}


@given(st.text(min_size=5).filter(lambda text: len(text.strip()) >= 5), st.data())
def test_a_text_written_in_two_parts_keeps_back_what_may_be_a_secret(secret, data):
    """However it is cut, the two parts show no more of it than a whole text would."""
    masker = Masker()
    masker.add(secret)
    text = f"<{secret.strip()}>"
    cut = data.draw(st.integers(0, len(text)))
    kept = masker.held_back(text[:cut])
    written = [text[: cut - kept], text[cut - kept :]]
    assert secret.strip() not in "".join(map(masker.text, written)).replace("***", "\0")


def test_deeply_nested_data_ends():
    deep: object = "x"
    for _ in range(200):
        deep = {"a": deep}
    masker = Masker()
    masker.add(deep, "")
    masker.redact(deep)
    masker.redact("[" * 50_000)
