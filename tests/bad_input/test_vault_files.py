"""Import files and arguments that make no sense: one line that says what and where, and nothing is half done."""

from __future__ import annotations

import pytest

from runtime.cli.main import main


@pytest.fixture
def refused(settings, capsys):
    """Run a command line that must fail; its only line on stderr, which quotes no secret."""

    def run(*words: str, code: int = 1) -> str:
        assert main(list(words)) == code
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1), captured.err
        assert "CANARY" not in captured.err
        return captured.err.removeprefix("hybrid: ").strip()

    return run


FILES = [
    ("connections", "a.json", "{", "{file}:1: no JSON: Expecting property name enclosed in double quotes (column 2)"),
    ("connections", "a.json", '{\n"a": CANARY}', "{file}:2: no JSON: Expecting value (column 6)"),
    ("connections", "a.json", "[]", "{file} must hold an object, name: value; it holds a list"),
    ("connections", "a.json", '{"a": "x://h", "a": "x://h"}', "{file}: 'a' stands twice; keep one"),
    ("connections", "a.json", '{"good": "x://h", "bad": "CANARY"}',
     "{file}: connection 'bad': it is neither a URI, type://login:password@host:port/schema, nor JSON"),
    ("connections", "a.json", '{"good": "x://h", "bad": {"pasword": "CANARY"}}',
     "{file}: connection 'bad': unknown key 'pasword'; it may have conn_type, description, host, schema, login, "
     "password, port, extra, or uri"),
    ("connections", "a.json", '{"good": "x://h", "b\\nd": "x://h"}',
     "{file}: connection id 'b\\nd' is not allowed; use letters, digits and -_.:/+@ (at most 250)"),
    ("connections", "a.env", "a=x://h\nCANARY", "{file}:2: expected NAME=value"),
    ("connections", "a.env", "a=x://h\na=x://CANARY", "{file}:2: 'a' stands twice; keep one"),
    ("connections", "a.yaml", "a: [", "{file}:1: no YAML: expected the node content, but found '<stream end>'"),
    ("connections", "a.yaml", "5: x://h", "{file}: the name 5 must be a text; put it in quotes"),
    ("connections", "a.txt", "a=x://h", "{file}: the file must end in .json, .yaml, .yml, .env, which say its format"),
    ("variables", "a.json", '{"good": 1, "": "CANARY"}',
     "{file}: a variable's key is a text of 1 to 250 characters, not ''; nothing was imported"),
    ("variables", "a.json", '{"good": 1, "bad": {"value": "CANARY", "description": 5}}',
     "{file}: variable 'bad': its description must be a text"),
    ("variables", "a.yaml", "good: 1\nbad: 2026-01-01",
     "{file}: variable 'bad': its value, of type date, is no JSON"),
    ("pools", "a.json", '{"good": {"slots": 1}, "bad": {"slots": "5"}}',
     "{file}: pool 'bad': slots must be a whole number, not '5'"),
    ("pools", "a.json", '{"good": {"slots": 1}, "bad": {"slots": -2}}',
     "{file}: pool 'bad': slots must be 0 or more, or -1 for unlimited, not -2"),
    ("pools", "a.json", '{"good": {"slots": 1}, "bad": {"slot": 2}}',
     "{file}: pool 'bad': unknown key 'slot'; it may have slots, description, include_deferred"),
    ("pools", "a.json", '{"good": {"slots": 1}, "bad": 5}',
     "{file}: pool 'bad' must be an object such as {{\"slots\": 5, \"description\": \"\"}}"),
]  # fmt: skip


@pytest.mark.parametrize(("group", "name", "text", "message"), FILES)
def test_a_bad_file_is_one_line_and_nothing_is_imported(refused, capsys, tmp_path, group, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    assert refused(group, "import", str(file)) == message.format(file=file)
    assert main([group, "list", "-o", "plain"]) == 0
    rows = capsys.readouterr().out.strip().splitlines()[1:]
    assert [row.split()[0] for row in rows] == (["default_pool"] if group == "pools" else [])


def test_a_file_that_is_not_there_and_one_that_is_no_text(refused, tmp_path):
    assert refused("variables", "import", f"{tmp_path}/no.json") == (
        f"{tmp_path}/no.json cannot be read: No such file or directory"
    )
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff"}')
    assert (
        refused("variables", "import", f"{tmp_path}/bytes.json") == f"{tmp_path}/bytes.json is no UTF-8 text (byte 7)"
    )
    assert refused("variables", "export", f"{tmp_path}/no/where.json") == (
        f"{tmp_path}/no/where.json cannot be written: No such file or directory"
    )


USAGE = [
    (["connections", "add", "c"],
     "say what the connection is: --conn-uri, --conn-json, or --conn-type with what else it has"),
    (["connections", "add", "c", "--conn-uri", "x://CANARY", "--conn-host", "h"],
     "--conn-uri says it all; leave out --conn-host"),
    (["connections", "add", "c", "--conn-uri", "x://CANARY", "--conn-json", "{}"],
     "--conn-uri says it all; leave out --conn-json"),
    (["connections", "export", "x"],
     "x: the file must end in .json, .yaml, .env, which say its format"),
    (["pools", "export", "x.env"], "x.env: the file must end in .json, .yaml, which say its format"),
    (["pools", "set", "p", "many"], "argument SLOTS: invalid int value: 'many'; see `hybrid pools set --help`"),
    (["jobs", "check", "--allow-multiple"],
     "--allow-multiple makes sense with --limit 0 (no limit) or above 1 only"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_wrong_usage(refused, words, message):
    assert refused(*words, code=2) == message


FAILURES = [
    (["connections", "add", "c", "--conn-uri", "CANARY"], "connection 'c': it is neither a URI, "),
    (["connections", "add", "c", "--conn-type", "x", "--conn-port", "CANARY"],
     "connection 'c': port must be a number of 0 to 65535"),
    (["connections", "add", "c", "--conn-type", "x", "--conn-extra", "CANARY"],
     "connection 'c': extra is no JSON object"),
    (["connections", "get", "c"], "there is no connection 'c'; see `hybrid connections list`"),
    (["variables", "get", "c"], "there is no variable 'c'; see `hybrid variables list`"),
    (["variables", "delete", "c"], "there is no variable 'c'; see `hybrid variables list`"),
    (["variables", "set", "c", "CANARY", "--json"], "the value is no JSON, and --json says that it is"),
    (["variables", "set", "", "CANARY"], "a variable's key is a text of 1 to 250 characters, not ''"),
    (["pools", "get", "c"], "there is no pool 'c'; see `hybrid pools list`"),
    (["pools", "delete", "default_pool"], "default_pool cannot be deleted: tasks that name no pool need it"),
    (["pools", "set", "p", "-2"], "pool 'p': slots must be 0 or more, or -1 for unlimited, not -2"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), FAILURES, ids=[" ".join(words) for words, _ in FAILURES])
def test_what_cannot_be_done(refused, words, message):
    assert refused(*words).startswith(message)


def test_a_lost_key_is_said_and_nothing_is_rotated(refused, settings, capsys):
    assert main(["variables", "set", "k", "CANARY"]) == main(["variables", "set", "m", "CANARY"]) == 0
    (settings.home / "fernet.key").unlink()
    capsys.readouterr()
    assert refused("variables", "get", "k") == (
        f"variable 'k' cannot be decrypted: there is no Fernet key in {settings.home}/fernet.key; "
        "put back the one that was used"
    )
    assert refused("rotate-fernet-key").startswith("variable 'k' cannot be decrypted: it was stored under another")
