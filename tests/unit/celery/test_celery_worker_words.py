"""What the words of ``hybrid celery worker`` and ``flower`` mean."""

from __future__ import annotations

import socket

import pytest

from executors.celery.cli import commands
from executors.celery.commands import node_name, parse_autoscale
from executors.celery.flower import is_loopback, read_people
from executors.cli import ActionCommand, GroupCommand
from executors.errors import ExecutorConfigError

HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("given", "instance", "name"),
    [
        (None, "CeleryExecutor", f"celery@{HOST}"),
        (None, "east", f"east@{HOST}"),
        ("w1", "east", f"w1@{HOST}"),
        ("w1@there", "east", "w1@there"),
        ("w1@%h", "east", f"w1@{HOST}"),
        ("w-%n@x", "east", f"w-{HOST.partition('.')[0]}@x"),
    ],
)
def test_name_of_a_worker(given, instance, name):
    assert node_name(given, instance) == name


@pytest.mark.parametrize("given", ["a b", "a\nb", "a\x00"])
def test_bad_name_of_a_worker(given):
    with pytest.raises(ExecutorConfigError, match="a worker's name has no spaces"):
        node_name(given, "east")


@pytest.mark.parametrize("text", ["16,4", "4,16", " 16 , 4 "])
def test_autoscale_takes_both_orders(text):
    assert parse_autoscale(text) == (16, 4)


@pytest.mark.parametrize("text", ["", "4", "a,b", "4,", "1,2,3", "0,4", "5000,1", "-1,4"])
def test_bad_autoscale(text):
    with pytest.raises(ExecutorConfigError, match="autoscale"):
        parse_autoscale(text)


def test_people_of_flower(tmp_path):
    assert read_people(None, "") == []
    assert read_people(None, "ann:a:b, bob:c") == ["ann:a:b", "bob:c"]
    file = tmp_path / "people"
    file.write_text("ann:x\n\nbob:y\n")
    assert read_people(str(file), "other:z") == ["ann:x", "bob:y"]


@pytest.mark.parametrize("option", ["secret-word", ":secret-word", "ann:", "ann:x,secret-word"])
def test_bad_people_of_flower_are_not_repeated(option):
    with pytest.raises(ExecutorConfigError, match="expected USER:PASSWORD") as raised:
        read_people(None, option)
    assert "secret-word" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "", "localhost.example.org"])
def test_not_loopback(host):
    assert not is_loopback(host)


def test_every_verb_has_a_function_and_chooses_an_instance():
    import executors.celery.commands as module

    (group,) = commands()
    assert isinstance(group, GroupCommand)
    for action in group.subcommands:
        assert isinstance(action, ActionCommand)
        assert callable(getattr(module, action.name.replace("-", "_")))
        assert ("--executor",) in [arg.flags for arg in action.args]
        assert action.is_worker == (action.name == "worker")
