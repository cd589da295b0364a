"""What a Celery worker runs, and above all what it does not; and where a ticket cannot be seen."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_client
from worker_host import end, settled, start_worker, with_body

from executors.celery.app import make_app
from executors.celery.asking import ask
from tests.integration.worker_http.faulty_api import eventually
from tests.redis_server import RedisServer

EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "hybrid.run", "args": ["a", "b"], "kwargs": {}, "options": {}, "subtask_type": None}


def test_attempts_run_one_after_the_other_in_processes_of_their_own(office, own_redis, broker):
    """And leave nothing in the broker: no message, no result."""
    worker = start_worker(office, own_redis)
    attempts = [office.attempt("returns") for _ in range(3)]
    for attempt in attempts:
        broker.publish(attempt, office.ticket(attempt))
    for attempt in attempts:
        settled(office, attempt)
    assert len({office.row(attempt).pid for attempt in attempts}) == 3
    eventually(broker.is_empty)
    assert own_redis.call("KEYS", "celery-task-meta-*") == []
    end(worker)


def test_message_that_comes_again_starts_nothing(office, own_redis, broker):
    """While it runs, and afterwards."""
    worker = start_worker(office, own_redis, "-c", "2")
    attempt = office.attempt("waits")
    broker.publish(attempt, office.ticket(attempt))
    office.wait_note("running")
    broker.publish(attempt, office.ticket(attempt))
    worker.wait_line(f"attempt {attempt}: not started")
    (office.notes / "go").touch()
    settled(office, attempt)
    broker.publish(attempt, office.ticket(attempt))
    eventually(lambda: worker.err.count("not started") == 2)
    assert len(office.noted("running")) == 1
    eventually(broker.is_empty)
    end(worker)


def bent(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def made(message: dict[str, Any]) -> Any:
        changed: Any = json.loads(json.dumps(message))
        return change(changed) or changed

    return made


def _header(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return bent(lambda message: message["headers"].update(values))


def _body(change: Callable[[list[Any]], tuple[Any, Any, Any]]) -> Callable[[dict[str, Any]], Any]:
    def made(message: dict[str, Any]) -> dict[str, Any]:
        args, _, _ = json.loads(base64.b64decode(message["body"]))
        return with_body(message, *change(args))

    return made


FORGED = {
    "another task": _header(task="os.system"),
    "a task of Celery's that calls others": _header(task="celery.map"),
    "a task that is no name": _header(task=["hybrid.run"]),
    "no headers": bent(lambda message: message.update(headers=None)),
    "another id": _header(id="0190b2d0-0000-7000-8000-000000000000"),
    "an id that is a list": _header(id=["a"]),
    "a third argument": _body(lambda args: ([*args, "x"], {}, EMBED)),
    "one argument": _body(lambda args: (args[:1], {}, EMBED)),
    "an attempt that is a number": _body(lambda args: ([1, args[1]], {}, EMBED)),
    "a keyword": _body(lambda args: (args, {"command": "id"}, EMBED)),
    "a null keyword": _body(lambda args: (args, {"command": None}, EMBED)),
    "a callback": _body(lambda args: (args, {}, {**EMBED, "callbacks": [SIGNATURE]})),
    "an errback": _body(lambda args: (args, {}, {**EMBED, "errbacks": [SIGNATURE]})),
    "a chain": _body(lambda args: (args, {}, {**EMBED, "chain": [SIGNATURE]})),
    "a chord": _body(lambda args: (args, {}, {**EMBED, "chord": SIGNATURE})),
    "no list": _body(lambda args: ({"a": 1}, {}, EMBED)),
    "a long ticket": _body(lambda args: ([args[0], "t" * 10_000], {}, EMBED)),
    "pickle": bent(lambda message: message.update({"content-type": "application/x-python-serialize"})),
    "YAML": bent(lambda message: message.update({"content-type": "application/x-yaml"})),
    "a body that is no JSON": bent(lambda message: message.update(body=base64.b64encode(b"\x80\x04.").decode())),
    "a body that is not packed": bent(lambda message: message.update(body="%%%")),
    "compression": _header(compression="application/x-gzip"),
    "unknown compression": _header(compression="x"),
    "protocol 1": bent(
        lambda message: with_body({**message, "headers": {}}, {"task": "hybrid.run", "id": "a", "args": []}, {}, {})
    ),
    "no properties": bent(lambda message: message.update(properties={})),
    "a number": lambda message: "7",
    "a list": lambda message: "[]",
    "an empty object": lambda message: "{}",
    "no JSON at all": lambda message: "\x00rubbish",
    "nothing": lambda message: "",
}
"""What whoever can write to Redis could write there: a real message with a valid ticket, changed."""


def test_forged_messages_start_nothing_and_do_no_harm(office, own_redis, broker):
    """Each is thrown away in one line that does not quote it; the worker goes on, and never dies."""
    worker = start_worker(office, own_redis)
    pids = {child.pid for child in psutil.Process(worker.pid).children()}
    tickets = []
    for number, (what, forge) in enumerate(FORGED.items()):
        forged, good = office.attempt("succeeds"), office.attempt("succeeds")
        tickets.append(office.ticket(forged))
        broker.put(forge(broker.message(forged, tickets[-1])))
        broker.publish(good, office.ticket(good))
        settled(office, good)
        assert office.row(forged).state == "queued", what
        assert len(office.noted("ran")) == number + 1, what
        assert worker.process.poll() is None, what
    assert "Traceback" not in worker.err
    assert not any(ticket in worker.err for ticket in tickets)
    eventually(lambda: worker.err.count("is thrown away: ") == len(FORGED))
    assert {child.pid for child in psutil.Process(worker.pid).children()} == pids, "no process of the pool has died"
    eventually(broker.is_empty)
    end(worker)


def test_what_celery_would_do_for_a_header_is_not_done(office, own_redis, broker):
    """Time limits would kill the process, an ETA would delay the attempt, an expiry would lose it."""
    worker = start_worker(office, own_redis)
    attempt = office.attempt("succeeds")
    message = broker.message(attempt, office.ticket(attempt))
    message["headers"].update(
        timelimit=[0.001, 0.001], eta="2099-01-01T00:00:00", expires="2001-01-01T00:00:00", retries=3,
        stamped_headers=["x"], stamps={"x": ["y"]}, argsrepr="\nFAKE LINE", kwargsrepr="\nFAKE LINE", shadow="other",
        group="g", ignore_result=False, replaced_task_nesting=7,
    )  # fmt: skip
    message["properties"].update(reply_to="somewhere")
    broker.put(message)
    settled(office, attempt)
    eventually(broker.is_empty)
    assert "FAKE" not in worker.err
    assert own_redis.call("KEYS", "celery-task-meta-*") == []
    assert own_redis.call("EXISTS", "somewhere") == 0
    end(worker)


@pytest.mark.parametrize("ticket", ["a.b.c", "another's"])
def test_forged_ticket_starts_nothing(office, own_redis, broker, ticket):
    worker = start_worker(office, own_redis)
    attempt, other = office.attempt("succeeds"), office.attempt("succeeds")
    broker.publish(attempt, office.ticket(other) if ticket == "another's" else ticket)
    worker.wait_line(f"attempt {attempt}: not started")
    assert office.row(attempt).state == "queued"
    assert office.noted("ran") == []
    end(worker)


@pytest.mark.parametrize("command", ["pool_restart", "memdump", "time_limit", "rate_limit", "election"])
def test_commands_that_could_do_harm_are_unknown(office, own_redis, command):
    """Among them the one that has a worker import modules."""
    worker = start_worker(office, own_redis)
    app = make_app({"broker_url": own_redis.url}, "")
    arguments = {"modules": ["antigravity"], "reload": True} if command == "pool_restart" else {}
    answers = ask(app, command, 5.0, ["w@test"], arguments)
    app.close()
    assert all("ok" not in answer for found in answers for answer in found.values()), answers
    end(worker)


def _heard(listener: Any, events: list[str]) -> str:
    """What was published so far; adds to ``events``."""
    while message := listener.get_message(timeout=0.1):
        events.append(base64.b64decode(json.loads(message["data"])["body"]).decode())
    return "".join(events)


def test_ticket_is_seen_by_nobody(office, own_redis, broker):
    """Not in logs, process titles, environments, events, what a worker tells of itself, results, or the task's log."""
    worker = start_worker(office, own_redis, logging__logging_level="DEBUG")
    app = make_app({"broker_url": own_redis.url}, "")
    ask(app, "enable_events", 1.0)
    with redis_client.Redis(host="127.0.0.1", port=own_redis.port) as client:
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.psubscribe("*")
        events: list[str] = []
        attempt = office.attempt("waits")
        ticket = office.ticket(attempt)
        broker.publish(attempt, ticket)
        office.wait_note("running")
        told = json.dumps([ask(app, command, 5.0, ["w@test"]) for command in ("active", "reserved", "stats", "conf")])
        told += json.dumps(ask(app, "query_task", 5.0, ["w@test"], {"ids": [attempt]}))
        below = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        for process in below:
            told += " ".join(process.cmdline()) + Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        (office.notes / "go").touch()
        settled(office, attempt)
        eventually(broker.is_empty)
        eventually(lambda: "task-received" in _heard(listener, events))
        listener.close()
    app.close()
    assert ticket not in told
    assert ticket not in "".join(events)
    assert ticket not in worker.err
    assert ticket not in office.log()
    assert not any(ticket in str(own_redis.call("GET", key)) for key in own_redis.call("KEYS", "*result*"))
    end(worker)


def test_task_does_not_inherit_the_way_to_the_broker(office, own_redis, broker):
    """Though the worker itself has it from its environment."""
    worker = start_worker(office, own_redis)
    attempt = office.attempt("shows_its_environment")
    broker.publish(attempt, office.ticket(attempt))
    settled(office, attempt)
    shown = (office.notes / "environment").read_text()
    assert "HYBRID__CORE__EXECUTOR" in shown
    assert "redis://" not in shown
    end(worker)


def test_message_goes_back_while_nobody_answers_the_start(office, own_redis, broker, api):
    """The pool's process is not held for ever; a later delivery runs it."""
    worker = start_worker(office, own_redis)
    attempt = office.attempt("returns")
    api.down()
    broker.publish(attempt, office.ticket(attempt))
    worker.wait_line(f"attempt {attempt} goes back to its queue: the task service gave no answer for 2 s")
    api.up()
    settled(office, attempt)
    eventually(broker.is_empty)
    end(worker)


def test_pool_process_does_not_grow(office, own_redis, broker):
    """What an attempt leaves in it is collected, so that the fork of a later one costs no more."""
    worker = start_worker(office, own_redis)

    def run(count: int) -> int:
        attempts = [office.attempt("succeeds") for _ in range(count)]
        for attempt in attempts:
            broker.publish(attempt, office.ticket(attempt))
        for attempt in attempts:
            settled(office, attempt)
        below = psutil.Process(worker.pid).children(recursive=True)
        assert len(below) == 2, "of the pool, and its supervisor"
        return int(sum(process.memory_info().rss for process in below))

    before = run(30)
    assert run(60) < before + 2**20
    end(worker)


def test_log_names_the_queues_and_no_password(office, broker, own_redis):
    with RedisServer("hidden-word") as secret:
        worker = start_worker(office, secret, "-q", "gpu,default")
        assert re.search(r"worker w@test: 1 processes, queues default, gpu", worker.err)
        assert "hidden-word" not in worker.err
        end(worker)
