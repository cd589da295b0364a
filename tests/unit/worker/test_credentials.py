"""Tickets and tokens: where they come from, how long they count, and that nothing shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.core.messages import Heartbeat, Start
from runtime.core.task_api import TICKET_VARIABLE
from runtime.tokens.tokens import Tokens
from runtime.worker.credentials import Credentials, read_ticket, remove_ticket, take_ticket
from runtime.worker.linux import boottime

START = Start("a", "n", "host", 1, 1, "boot")
BEAT = Heartbeat("a", "n")
WIPE = """
import os
from runtime.worker.credentials import take_ticket
ticket = take_ticket()
kernel = open("/proc/self/environ", "rb").read()
print(ticket, os.environ.get("HYBRID_START_TICKET"), b"s3cret" in kernel, b"BEFORE=1" in kernel, b"AFTER=2" in kernel)
"""


def test_a_start_is_asked_for_with_the_ticket_and_all_else_with_the_newest_token():
    credentials = Credentials("ticket")
    assert credentials.header(START) == "Bearer ticket"
    assert credentials.renew("one", 0.0)
    assert credentials.renew("two", 0.0)
    assert (credentials.header(BEAT), credentials.header(START)) == ("Bearer two", "Bearer ticket")


def test_credentials_do_not_show_themselves():
    credentials = Credentials("s3cret")
    credentials.renew("t0ken", 0.0)
    assert "s3cret" not in f"{credentials!r} {credentials}"
    assert "t0ken" not in f"{credentials!r} {credentials}"


@pytest.mark.parametrize("text", ["", "a b", "a\r\nX: y", "ü", "a/b"])
def test_what_cannot_be_a_token_replaces_none(text):
    credentials = Credentials("ticket")
    credentials.renew("one", 0.0)
    assert not credentials.renew(text, 0.0)
    assert credentials.header(BEAT) == "Bearer one"


def test_the_age_of_a_token_is_measured_here_whatever_the_servers_clock_says():
    token = Tokens(b"k" * 64, lifetime=100.0, clock=lambda: 12_345.0).running_token("a", "n")
    credentials = Credentials("ticket")
    credentials.renew(token, boottime() - 90.0)
    assert not credentials.expired
    credentials.renew(token, boottime() - 110.0)
    assert credentials.expired


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", "a.bm8.c"])
def test_a_token_that_does_not_say_counts_until_the_server_refuses_it(token):
    credentials = Credentials("ticket")
    assert credentials.renew(token, 0.0)
    assert not credentials.expired


@pytest.mark.parametrize("order", [(), ("BEFORE", "AFTER"), ("BEFORE",), ("AFTER",)])
def test_the_ticket_is_wiped_from_the_environment_and_from_the_kernels_copy(order):
    variables = {"PYTHONPATH": str(Path(__file__).parents[3])}
    variables |= {"BEFORE": "1"} if "BEFORE" in order else {}
    variables |= {TICKET_VARIABLE: "s3cret"}
    variables |= {"AFTER": "2"} if "AFTER" in order else {}
    done = subprocess.run([sys.executable, "-c", WIPE], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["s3cret", "None", "False", str("BEFORE" in order), str("AFTER" in order)]


def test_without_a_variable_there_is_no_ticket():
    assert take_ticket() == ""


def test_the_file_of_a_ticket_is_read_and_removed(tmp_path):
    (tmp_path / "a").write_text("ticket\n")
    assert read_ticket(tmp_path, "a") == "ticket"
    remove_ticket(tmp_path, "a")
    assert read_ticket(tmp_path, "a") == ""
    remove_ticket(tmp_path, "a")


def test_what_is_no_plain_file_is_no_ticket(tmp_path):
    (tmp_path / "real").write_text("ticket")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert [read_ticket(tmp_path, name) for name in ("link", "folder", "fifo", "absent")] == [""] * 4
