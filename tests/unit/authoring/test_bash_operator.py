"""``BashOperator``: output, exit codes, environment, folders, and being stopped."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time

import psutil
import pytest

from runtime import DAG, BashOperator, SkipTask, TaskError
from runtime.authoring.exceptions import ArgumentError


def bash(command: str, **kwargs) -> BashOperator:
    with DAG("d"):
        return BashOperator(task_id="t", bash_command=command, **kwargs)


def test_the_last_line_is_the_xcom_and_each_line_is_logged(caplog):
    caplog.set_level(logging.INFO)
    assert bash("echo one; echo two >&2; printf three").execute({}) == "three"
    assert [record.getMessage() for record in caplog.records][1:] == ["one", "two", "three"]


def test_output_in_another_encoding_and_made_into_something_else(caplog):
    caplog.set_level(logging.INFO)
    command = r"""printf '["gr\xfc\xdf"]'"""
    value = bash(command, output_encoding="latin-1", output_processor=json.loads).execute({})
    assert value == ["grüß"]
    assert caplog.messages[-1] == '["grüß"]'


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"output_encoding": "utf-9"},
            "task 't': output_encoding 'utf-9' is no encoding that Python knows; try 'utf-8'",
        ),
        ({"output_processor": 3}, "task 't': output_processor must be a function, not 3"),
        ({"append_env": "yes"}, "task 't': append_env must be True or False, not 'yes'"),
        ({"skip_on_exit_code": True}, "task 't': skip_on_exit_code must be exit codes of 1 to 255, not True"),
        ({"skip_on_exit_code": [0]}, "task 't': skip_on_exit_code must be exit codes of 1 to 255, not [0]"),
        ({"env": ["A"]}, "task 't': env must be a dict with string keys, not ['A']"),
        ({"bash_comand": "x"}, "BashOperator 't': unknown argument 'bash_comand'; did you mean 'bash_command'?"),
    ],
)
def test_what_cannot_be_used_is_named(kwargs, message):
    with pytest.raises(ArgumentError) as caught:
        bash("true", **kwargs)
    assert str(caught.value) == message


def test_a_command_without_output():
    assert bash("true").execute({}) == ""


def test_output_that_is_no_text_and_has_no_line_ends(caplog):
    """It is logged in pieces: a megabyte without a line end needs no megabyte."""
    caplog.set_level(logging.INFO)
    last = bash(r"printf '\xff'; head -c 200000 /dev/zero | tr '\0' x").execute({})
    assert len(caplog.records) == 1 + 4
    assert caplog.records[1].getMessage().startswith(r"\xffxxx")
    assert set(last) == {"x"}


@pytest.mark.parametrize(
    ("command", "kwargs", "error", "message"),
    [
        ("exit 3", {}, TaskError, "bash command exited with 3"),
        ("exit 99", {}, SkipTask, "bash command exited with 99"),
        ("exit 99", {"skip_on_exit_code": None}, TaskError, "bash command exited with 99"),
        ("exit 5", {"skip_on_exit_code": [4, 5]}, SkipTask, "bash command exited with 5"),
        ("kill -KILL $$", {}, TaskError, "bash command was killed by SIGKILL"),
        ("true", {"cwd": "/nonexistent"}, TaskError, "cwd '/nonexistent' is no folder"),
        ("true", {"env": {"A": 1}}, TaskError, "env['A'] must be a string, not 1"),
    ],
)
def test_ends(command, kwargs, error, message):
    with pytest.raises(error) as caught:
        bash(command, **kwargs).execute({})
    assert (type(caught.value), str(caught.value)) == (error, message)


def test_without_bash(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TaskError, match="there is no bash on this machine's PATH"):
        bash("true").execute({})


def test_the_environment_is_replaced_or_added_to(monkeypatch):
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.setenv("HYBRID_ATTEMPT_ID", "a1")
    show = 'echo "$FROM_HERE,$MINE,$HYBRID_ATTEMPT_ID"'
    assert bash(show).execute({}) == "here,,a1"
    assert bash(show, env={"MINE": "m"}).execute({}) == ",m,a1"
    assert bash(show, env={"MINE": "m"}, append_env=True).execute({}) == "here,m,a1"


def test_folders(tmp_path):
    assert bash("pwd", cwd=str(tmp_path)).execute({}) == str(tmp_path)
    own = bash("touch rest; pwd").execute({})
    assert not os.path.exists(own)


def test_it_stays_in_the_process_group_of_the_task():
    """The supervisor kills that group; a session of its own would escape."""
    assert int(bash("ps -o pgid= -p $$").execute({})) == os.getpgid(0)


def test_being_stopped_takes_the_children_along(tmp_path):
    """As the worker does it: ``on_kill`` from outside while ``execute`` waits."""
    pids = tmp_path / "pids"
    operator = bash(f"(sleep 300; true) & echo $! > {pids}; sleep 300; true")
    ended: list[BaseException] = []

    def execute():
        try:
            operator.execute({})
        except TaskError as error:
            ended.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    deadline = time.monotonic() + 20
    while not (pids.exists() and pids.read_text().strip()) and time.monotonic() < deadline:
        os.sched_yield()
    background = psutil.Process(int(pids.read_text()))
    operator.on_kill()
    thread.join(20)
    assert [str(error) for error in ended] == ["bash command was killed by SIGTERM"]
    assert not background.is_running() or background.status() == psutil.STATUS_ZOMBIE
    operator.on_kill()


def test_an_exception_while_it_runs_stops_it():
    """``execution_timeout`` arrives as an exception from a signal handler."""

    class TimeIsOverError(BaseException):
        pass

    def strike(number, frame):
        raise TimeIsOverError

    before = signal.signal(signal.SIGALRM, strike)
    operator = bash("sleep 300; true")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeIsOverError):
            operator.execute({})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert operator._process.wait(20) == -signal.SIGTERM
