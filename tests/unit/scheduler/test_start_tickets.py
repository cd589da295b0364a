"""Start tickets: enclosed at the hand-over, in a file where the launch looks for one, gone when the launch is over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from executors.testing import ScriptedExecutor
from executors.workload import CodeReference, TaskInstanceKey, Workload
from runtime.core.ids import uuid7
from runtime.core.task_api import TICKET_VARIABLE
from runtime.scheduler.tickets import MARGIN, Tickets, needs_tickets, ticket_folder
from runtime.tokens.tokens import START, Tokens

SIGNER = Tokens(b"k" * 64)


def workload() -> Workload:
    key = TaskInstanceKey("d", "t", "r", attempt_id=uuid7())
    return Workload(key, ("hybrid", "tasks", "run", key.attempt_id), CodeReference("d.py", "0"), env={"A": "b"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return ticket_folder(tmp_path / "home")


def test_the_ticket_is_in_the_environment_and_in_a_private_file(folder: Path) -> None:
    plain = workload()
    enclosed = Tickets(SIGNER, 600, folder).enclose(plain)
    ticket = enclosed.env[TICKET_VARIABLE]
    assert enclosed.env["A"] == "b"
    assert SIGNER.check(ticket, START).subject == plain.key.attempt_id
    path = folder / plain.key.attempt_id
    assert path.read_text() == ticket
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder) == [path.name]
    assert ticket not in repr(enclosed)


def test_a_second_hand_over_replaces_it(folder: Path) -> None:
    tickets, plain = Tickets(SIGNER, 600, folder), workload()
    tickets.enclose(plain)
    again = tickets.enclose(plain)
    assert (folder / plain.key.attempt_id).read_text() == again.env[TICKET_VARIABLE]


def test_executors_that_pass_the_environment_on_leave_no_file(folder: Path) -> None:
    assert TICKET_VARIABLE in Tickets(SIGNER, 600, None).enclose(workload()).env
    assert not folder.exists()


def test_it_is_discarded_once_and_again(folder: Path) -> None:
    tickets, plain = Tickets(SIGNER, 600, folder), workload()
    tickets.enclose(plain)
    for _ in range(2):
        tickets.discard(plain.key.attempt_id)
    assert os.listdir(folder) == []


def test_the_sweep_takes_files_that_are_past_their_time_and_nothing_else(folder: Path) -> None:
    tickets, old, young = Tickets(SIGNER, 600, folder), workload(), workload()
    tickets.sweep()
    tickets.enclose(old)
    tickets.enclose(young)
    (folder / "hints").mkdir()
    (folder / "notes.txt").write_text("")
    for name in (old.key.attempt_id, "hints", "notes.txt"):
        os.utime(folder / name, (1, 1))
    assert MARGIN > 0
    tickets.sweep()
    assert sorted(os.listdir(folder)) == sorted([young.key.attempt_id, "hints", "notes.txt"])


@pytest.mark.parametrize(
    ("is_local", "ticket_file", "needed"),
    [(True, False, False), (True, True, True), (False, False, True), (False, True, True)],
)
def test_only_what_reports_by_pipe_needs_none(is_local: bool, ticket_file: bool, needed: bool) -> None:
    cls = type("Some", (ScriptedExecutor,), {"is_local": is_local, "ticket_file": ticket_file})
    assert needs_tickets(cls) is needed
