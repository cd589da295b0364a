"""The harness's verdict sees what went wrong on PostgreSQL, in processes, in the broker and in files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest
from checker import Story
from harness.leaks import in_broker, of_attempts, tickets
from harness.plan import Fault, Kind
from harness.recovery import percentile, recoveries
from harness.strikes import Struck
from harness.verdict import Verdict, judge

from runtime.core.ids import uuid7
from runtime.db.engine import Database
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling, closing
from tests.postgres import Postgres
from tests.redis_server import RedisServer

FORGED: dict[str, tuple[str, str, str]] = {
    "a second start": ("doubled", "was executed 2 times", "start {attempt} 1 1 d.a.r"),
    "a start beside another one": ("doubled", "while an older one still ran", "overlap {attempt} 1 1 d.a.r"),
    "an attempt without a row": ("doubled", "no row says so", "start no-such-attempt 1 1 d.a.r"),
    "an attempt without a grant": ("doubled", "without a granted start", "UPDATE task_attempt SET start_nonce = NULL"),
    "a run that goes on": ("lost", "is still running", "UPDATE dag_run SET state = 'running'"),
    "an attempt that goes on": ("lost", "is still queued", "UPDATE task_attempt SET state = 'queued'"),
    "a task left out": ("lost", "is still none", "UPDATE task_instance SET state = 'none' WHERE task_id = 'b'"),
    "no last words": ("lost", "never came to its end", "drop end"),
    "no return value": ("lost", "returned is not there", "DELETE FROM xcom WHERE task_id = 'a'"),
    "another attempt's value": (
        "lost",
        "returned is not there",
        "UPDATE xcom SET attempt_id = 'x' WHERE task_id = 'b'",
    ),
    "a date without a run": ("lost", "1 dates, 0 of them", "dates"),
    "a state without an event": ("wrong", "its events end with", "UPDATE task_instance SET state = 'skipped'"),
    "a success of a lost attempt": ("wrong", "is lost", "UPDATE task_attempt SET state = 'lost'"),
    "a failure of nobody's": ("wrong", "not by its own code", "UPDATE task_attempt SET state = 'failed'"),
    "a run that failed": ("wrong", "of d failed", "UPDATE dag_run SET state = 'failed'"),
    "an executor without a reason": ("wrong", "has executor", "UPDATE task_attempt SET executor_reason = ''"),
    "a limit": ("wrong", "pool default_pool had 1 of 0", "UPDATE pool SET slots = 0"),
    "a scheduler that lives": ("wrong", "was never declared ended", "UPDATE scheduler SET ended_at = NULL"),
    "a report": ("leaked", "inbox row", "INSERT INTO run_inbox (dag_run_id, kind, created_at) VALUES (1, 'ended', 0)"),
    "a slot": ("leaked", "still holds", "UPDATE scheduler SET ended_at = NULL; UPDATE executor_status SET running = 1"),
    "a process": ("leaked", "process 1 of an attempt", "leak"),
}
"""What → the word that it belongs to, what is said of it, and how it is done: SQL, a line of the journal, …"""


@pytest.fixture(scope="module")
def went_well(postgres: Postgres) -> Iterator[tuple[str, str]]:
    """A PostgreSQL database in which a run of two tasks has gone well, and the journal of these."""
    url = postgres.create()
    database = Database(url)
    with closing(Scheduling(database)) as s:
        s.plan(a="hold", b="hold")
        run = s.begin_run(spec("d", task("a"), task("b", "a")), "r")
        journal = ""
        for name in ("a", "b"):
            s.until(lambda name=name: name in s.one.held)
            attempt = s.one.held[name].attempt_id
            journal += "".join(f"{word} {attempt} 1 1 d.{name}.r\n" for word in ("start", "end"))
            s.one.end_held(name, return_value=msgspec.Raw(msgspec.json.encode({"n": 1, "attempt": attempt})))
        assert s.run_to_end(run) == ["success"]
        s.rest()
        s.scheduler.finish()
    database.close()
    yield url, journal
    postgres.drop(url)


@pytest.fixture
def good(tmp_path: Path, postgres: Postgres, went_well: tuple[str, str]) -> Iterator[tuple[Path, str]]:
    """A copy of it: the home, and the URL."""
    original, journal = went_well
    name = f"forged_{uuid7().replace('-', '')}"
    postgres.execute(
        f"CREATE DATABASE {name} TEMPLATE {original.partition('?')[0].rpartition('/')[2]} STRATEGY file_copy"
    )
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "lines").write_text(journal)
    yield tmp_path, postgres.url(name)
    postgres.drop(postgres.url(name))


def test_a_good_deployment_is_called_good(good):
    verdict = judge(Story(*good), [], dates=0)
    assert verdict.lines() == []
    assert verdict.is_good


@pytest.mark.parametrize("what", FORGED)
def test_what_is_forged_is_seen(good, what):
    word, says, how = FORGED[what]
    home, url = good
    forge(home, url, how)
    leaks = ["process 1 of an attempt: x"] if how == "leak" else []
    verdict = judge(Story(home, url), leaks, dates=1 if how == "dates" else 0)
    assert any(says in line for line in verdict.found[word]), verdict.lines()
    assert not verdict.is_good


def forge(home: Path, url: str, how: str) -> None:
    lines = home / "witness" / "lines"
    if how == "drop end":
        kept = [line for line in lines.read_text().splitlines() if not line.startswith("end")]
        lines.write_text("\n".join(kept) + "\n")
    elif how.startswith(("start", "overlap")):
        attempt = lines.read_text().split()[1]
        with lines.open("a") as file:
            file.write(how.format(attempt=attempt) + "\n")
    elif how not in ("dates", "leak"):
        with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
            for statement in how.split(";"):
                connection.execute(statement)


def test_a_process_of_an_attempt_is_seen():
    words = ["sleep", "60"]
    with (
        subprocess.Popen(words, env={**os.environ, "HYBRID_ATTEMPT_ID": "x"}) as marked,
        subprocess.Popen(words, env=dict(os.environ)) as other,
    ):
        try:
            found = list(of_attempts([psutil.Process(marked.pid), psutil.Process(other.pid)]))
            assert found == [f"process {marked.pid} of an attempt: sleep 60"]
        finally:
            marked.kill()
            other.kill()


def test_messages_in_the_broker_are_seen():
    with RedisServer() as redis:
        assert list(in_broker(redis)) == []
        redis.call("LPUSH", "default", "one")
        redis.call("HSET", "unacked", "tag", "one")
        assert [line.partition(" in the ")[0] for line in in_broker(redis)] == ["1 messages", "1 messages"]


def test_ticket_files_are_seen(tmp_path):
    (tmp_path / "hints").mkdir()
    ticket = tmp_path / uuid7()
    ticket.touch()
    assert list(tickets(tmp_path)) == [f"ticket {ticket}"]
    assert list(tickets(tmp_path / "absent")) == []


# -- recovery


def struck(target: str, ended: float, runs: list[int] | None = None) -> Struck:
    fault = Fault(0, 0.0, Kind(target, "SIGKILL"), 0.0, 0.0)
    return Struck(fault, 0, time.monotonic(), ended=round(ended * 1e6), runs=runs or [])


def attempt(executor: str, at: float, run: int = 1) -> dict[str, object]:
    return {
        "executor": executor,
        "queued_at": round(at * 1e6),
        "started_at": round(at * 1e6) + 500_000,
        "dag_run_id": run,
    }


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (struck("local worker", 10.0), 2.5),
        (struck("pool child", 10.0), 4.5),
        (struck("remote > api-server", 10.0), 6.5),
        (struck("postgres", 10.0), 2.5),
        (struck("scheduler-1", 10.0, runs=[2]), 4.0),
        (struck("scheduler-2 > postgres", 10.0), 2.0),
        (struck("scheduler-2 > redis", 10.0), 4.5),
    ],
)
def test_recovery_is_the_time_until_work_goes_on_where_it_hurt(fault, seconds):
    attempts = [
        attempt("LocalExecutor", 9.0),
        attempt("LocalExecutor", 12.0),
        attempt("CeleryExecutor", 14.0, run=2),
        attempt("remote", 16.0),
    ]
    assert recoveries([fault], attempts) == [(fault, seconds)]


def test_what_nothing_followed_has_no_recovery():
    assert recoveries([struck("redis", 10.0)], [attempt("CeleryExecutor", 8.0)]) == []
    assert percentile([], 0.5) is None
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.5, 0.95)] == [2.0, 3.0]


def test_one_violation_of_any_word_is_not_good():
    assert Verdict().is_good
    assert not Verdict({**Verdict().found, "leaked": ["x"]}).is_good
