"""No ticket and no token is to be seen anywhere, and a worker loads nothing that it could not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.core.task_api import TICKET_VARIABLE
from runtime.scheduler.tickets import ticket_folder, write_ticket
from tests.integration.worker_http.faulty_api import Fault
from tests.integration.worker_http.launches import Launched, Office

LISTING = """
import ctypes, json, os, sys
from runtime.cli.main import main
code = main()
with open(os.environ["NOTES"] + "/supervisor_dumpable", "w") as file:
    file.write(str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)))
with open(os.environ["NOTES"] + "/supervisor_modules", "w") as file:
    json.dump(sorted(sys.modules), file)
sys.exit(code)
"""
FOREIGN = (
    *("sqlalchemy", "alembic", "psycopg", "fastapi", "starlette", "uvicorn", "jwt", "httpx", "pydantic", "rich"),
    *("runtime.db", "runtime.tokens", "runtime.api", "runtime.service", "runtime.scheduler", "runtime.processing"),
)


def secrets(office: Office) -> list[str]:
    """Every ticket and token that the API was shown, and the part of each that is nobody else's."""
    return [token.rpartition(".")[2] for token in office.api.token_seen]


def seen_of(launched: Launched) -> str:
    """What other processes may read of this one and of its children."""
    folders = [Path(f"/proc/{pid}") for pid in (launched.pid, launched.child())]
    files = [folder / name for folder in folders for name in ("cmdline", "environ", "comm")]
    return "\n".join(file.read_bytes().decode(errors="replace") for file in files)


@pytest.mark.parametrize("environment", [{}, {"SPT_NOENV": "1"}], ids=["with its title", "with a title of argv only"])
def test_no_process_shows_a_ticket_or_a_token(office: Office, environment):
    attempt_id = office.attempt("waits")
    launched = office.launch(attempt_id, environment=environment)
    office.wait_note("running")
    office.api.wait_count("heartbeat", 1)
    shown = seen_of(launched)
    assert secrets(office)
    assert not any(secret in shown for secret in secrets(office))
    assert TICKET_VARIABLE + "=e" not in shown
    (office.notes / "go").touch()
    assert launched.wait() == 0


def test_user_code_and_what_it_executes_find_no_ticket_and_no_token(office: Office):
    assert office.run(office.attempt("shows_itself")) == 0
    log = office.log()
    assert all(word in log for word in ("ENVIRONMENT", "KERNEL", "SUPERVISOR", "ARGV", "EXECUTED"))
    assert TICKET_VARIABLE not in log
    assert not any(secret in log for secret in secrets(office))


def test_errors_do_not_quote_a_ticket_or_a_token(office: Office):
    """Refusals, outages, a server that talks nonsense: one launch meets them all."""
    office.api.fail("start", Fault.ERROR, Fault.FOREIGN, Fault.LOSE, Fault.NONSENSE)
    office.api.fail("finish", Fault.DROP, Fault.NONSENSE, Fault.FORBIDDEN)
    launched = office.launch(office.attempt("pushes_and_pulls"))
    assert launched.wait() == 4
    everything = launched.err + launched.out + office.log()
    assert "gives no answer" in everything
    assert not any(secret in everything for secret in secrets(office))


def test_the_process_says_in_its_title_what_it_runs(office: Office):
    launched = office.launch(office.attempt("waits"))
    office.wait_note("running")
    office.api.wait_count("heartbeat", 1)
    title = Path(f"/proc/{launched.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert title.startswith("hybrid task d1.waits manual__")
    assert title.endswith(" try 1")
    (office.notes / "go").touch()
    assert launched.wait() == 0


@pytest.mark.parametrize("task_id", ["succeeds", "fails"])
def test_the_file_of_a_ticket_is_gone_at_the_end_whatever_that_was(office: Office, task_id):
    attempt_id = office.attempt(task_id)
    write_ticket(ticket_folder(office.home), attempt_id, office.ticket(attempt_id))
    office.run(attempt_id, ticket="")
    assert list(ticket_folder(office.home).iterdir()) == []


def test_a_link_in_place_of_a_tickets_file_is_not_followed(office: Office, tmp_path: Path):
    attempt_id = office.attempt("succeeds")
    (tmp_path / "elsewhere").write_text(office.ticket(attempt_id))
    ticket_folder(office.home).mkdir()
    (ticket_folder(office.home) / attempt_id).symlink_to(tmp_path / "elsewhere")
    assert office.run(attempt_id, ticket="") == 2


def test_a_worker_needs_no_database_no_key_and_no_server(office: Office):
    """Neither the supervisor nor the attempt's process has loaded what a worker's image may lack."""
    assert office.run(office.attempt("shows_itself"), code=LISTING) == 0
    supervisor = json.loads((office.notes / "supervisor_modules").read_text())
    assert "runtime.worker.single" in supervisor
    for modules in (supervisor, office.noted("modules")):
        assert [name for name in modules if name.startswith(FOREIGN)] == []
    assert not (office.home / "hybrid.db").exists()
    assert not (office.home / "jwt.key").exists()


def test_others_of_the_same_user_may_read_the_attempts_memory_and_not_its_supervisors(office: Office):
    """Else the scheduler could not find, by their environment, the processes that a lost attempt has left."""
    assert office.run(office.attempt("shows_itself"), code=LISTING) == 0
    assert (office.noted("supervisor_dumpable"), office.noted("dumpable")) == (["0"], ["1"])


def test_user_code_reads_nothing_from_the_launchs_stdin(office: Office):
    assert office.run(office.attempt("shows_itself")) == 0
    assert office.noted("stdin") == ["/dev/null"]
