"""``hybrid celery …`` against real workers, and what it says where there are none."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import psutil
import pytest
from worker_host import end, run_command, settled, start_worker

from executors.celery.app import make_app
from executors.celery.asking import ask
from executors.celery.pidfile import living_pid
from tests.integration.worker_http.faulty_api import eventually


@pytest.fixture
def say(office, own_redis):
    """Run ``hybrid celery WORDS`` to its end: exit code, stdout, stderr."""

    def run(*words: str, redis=own_redis, **settings: str) -> tuple[int, str, str]:
        launched = run_command(office, redis, "celery", *words, **settings)
        return launched.wait(), launched.out, launched.err

    return run


def test_workers_are_listed_with_their_queues(office, own_redis, say):
    worker = start_worker(office, own_redis, "-q", "default,gpu", "-c", "2")
    code, out, _ = say("list-workers", "-o", "json")
    assert code == 0
    assert json.loads(out) == [{"worker_name": "w@test", "queues": "default, gpu", "running": 0, "processes": 2}]
    assert "w@test" in say("list-workers")[1]
    end(worker)


def test_queues_are_added_and_removed_while_it_works(office, own_redis, broker, say):
    worker = start_worker(office, own_redis)
    attempt = office.attempt("returns")
    broker.publish(attempt, office.ticket(attempt), "gpu")
    assert say("add-queue", "-q", "gpu", "-H", "w@test")[:2] == (0, "worker w@test takes tasks of queue gpu\n")
    settled(office, attempt)
    assert say("remove-queue", "-q", "gpu", "-H", "w@test")[0] == 0
    assert json.loads(say("list-workers", "-o", "json")[1])[0]["queues"] == "default"
    assert say("remove-all-queues", "-H", "w@test")[0] == 0
    assert json.loads(say("list-workers", "-o", "json")[1])[0]["queues"] == ""
    end(worker)


@pytest.mark.parametrize("words", [("shutdown-worker", "-H", "w@test"), ("shutdown-all-workers", "-y")])
def test_worker_is_told_to_stop_and_lets_what_runs_end(office, own_redis, broker, say, words):
    worker = start_worker(office, own_redis)
    attempt = office.attempt("waits")
    broker.publish(attempt, office.ticket(attempt))
    office.wait_note("running")
    assert say(*words)[0] == 0
    worker.wait_line("Got shutdown from remote")
    (office.notes / "go").touch()
    assert worker.wait() == 0
    assert office.state(attempt) == "success"


def test_shutdown_of_all_asks_first(office, own_redis, say):
    code, _, err = say("shutdown-all-workers")
    assert (code, "pass -y" in err) == (2, True)


def test_second_worker_of_a_name_is_refused(office, own_redis, say):
    worker = start_worker(office, own_redis)
    code, _, err = say("worker", "-n", "w@test", "--skip-serve-logs")
    assert code == 1
    assert err == "hybrid: a worker called w@test runs already; give this one another name: -n NAME\n"
    end(worker)


def test_pid_file_stops_it(office, own_redis, say, tmp_path):
    """By its lock, and not by a number that may be anybody's."""
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getpid()}\n")
    code, _, err = say("stop", "-p", str(path))
    assert (code, err) == (1, f"hybrid: no worker holds the pid file {path}\n")
    worker = start_worker(office, own_redis, "--pid", str(path))
    assert living_pid(path) == worker.pid
    code, _, err = say("worker", "-n", "other", "--pid", str(path))
    assert (code, f"pid {worker.pid}" in err) == (1, True)
    code, out, _ = say("stop", "-p", str(path))
    assert (code, out) == (0, f"worker {worker.pid} is stopping; its running attempts may end\n")
    assert worker.wait() == 0
    assert not path.exists()


def test_daemon_leaves_the_terminal(office, own_redis, broker, say):
    """Its parent returns once it is under way; it has a log, a pid file, and ends by ``stop``."""
    code, out, err = say("worker", "-n", "d@test", "-c", "1", "--daemon", "--skip-serve-logs")
    assert code == 0, err
    log = office.home / "celery-worker.log"
    assert str(log) in out
    pid = living_pid(office.home / "celery-worker.pid")
    assert pid is not None
    process = psutil.Process(pid)
    try:
        assert os.getsid(pid) != os.getsid(0)
        attempt = office.attempt("returns")
        broker.publish(attempt, office.ticket(attempt))
        settled(office, attempt)
        assert say("worker", "-n", "e@test", "--daemon")[0] == 1, "the pid file is held"
        assert say("stop")[0] == 0
    finally:
        if process.is_running():
            process.kill()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert " ready." in log.read_text()


def test_daemon_that_cannot_work_says_so_to_its_terminal(office, own_redis, monkeypatch):
    """And not only to its log, which nobody looks at yet."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    launched = run_command(office, own_redis, "celery", "worker", "--daemon", "--skip-serve-logs")
    assert launched.wait() == 1
    assert launched.err.startswith("hybrid: the environment variable CELERY_BROKER_URL differs")
    assert launched.out == ""
    assert not (office.home / "celery-worker.pid").exists()


def test_autoscale_keeps_within_its_bounds(office, own_redis, broker):
    worker = start_worker(office, own_redis, "--autoscale", "3,1")

    def processes() -> int:
        (told,) = ask(app, "stats", 5.0, ["w@test"])
        return len(told["w@test"]["pool"]["processes"])

    app = make_app({"broker_url": own_redis.url}, "")
    assert processes() == 1
    attempts = [office.attempt("waits") for _ in range(4)]
    for attempt in attempts:
        broker.publish(attempt, office.ticket(attempt))
    eventually(lambda: len(office.noted("running")) == 3)
    assert (processes(), own_redis.call("LLEN", "default")) == (3, 1), "the fourth waits where others could take it"
    app.close()
    (office.notes / "go").touch()
    for attempt in attempts:
        settled(office, attempt)
    end(worker)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list-workers",), "no Celery worker answers on redis://"),
        (("shutdown-worker", "-H", "x@y"), "worker x@y does not answer on redis://"),
        (("add-queue", "-q", "a", "-H", "x@y"), "worker x@y does not answer on redis://"),
        (("worker", "-P", "gevent"), "pool gevent: prefork is the only one here"),
        (("worker", "--autoscale", "x"), "autoscale 'x': expected MAX,MIN, for instance 16,4"),
        (("worker", "-c", "0"), "--concurrency 0: expected 1 to"),
        (("worker", "-n", "a b"), "a worker's name has no spaces"),
        (("worker", "-q", "q" * 300), "has more than 255 bytes"),
        (("list-workers", "--executor", "east"), "--executor east: choose from CeleryExecutor"),
        (("flower", "-H", "0.0.0.0"), "would let anybody stop the workers"),
        (("flower", "-A", "/nowhere"), "--basic-auth /nowhere cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(say, words, told):
    code, out, err = say(*words)
    assert (code, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [("list-workers",), ("shutdown-all-workers", "-y"), ("flower",)])
def test_broker_that_is_not_there_is_one_line(say, words):
    code, _, err = say(*words, redis="redis://:hidden@127.0.0.1:9/0")
    assert code == 1
    assert "redis://127.0.0.1:9/0 cannot be reached" in err
    assert err.count("\n") == 1
    assert "hidden" not in err


def test_worker_waits_for_a_broker_that_is_not_there_yet(office, own_redis, broker):
    own_redis.kill()
    launched = run_command(office, own_redis, "celery", "worker", "-c", "1", "-n", "w@test", "--skip-serve-logs")
    launched.wait_line("Cannot connect")
    own_redis.start()
    attempt = office.attempt("returns")
    broker.publish(attempt, office.ticket(attempt))
    settled(office, attempt)
    end(launched)


def test_worker_without_a_broker_leaves_at_a_signal(office, own_redis):
    own_redis.kill()
    launched = run_command(office, own_redis, "celery", "worker", "-c", "1", "-n", "w@test", "--skip-serve-logs")
    launched.wait_line("Cannot connect")
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 0


def test_two_instances_have_workers_of_their_own(office, own_redis, say):
    """On one broker; a worker reads its instance's queues only."""
    settings = {"core__executor": "west:CeleryExecutor, east:CeleryExecutor"}
    east = start_worker(office, own_redis, "--executor", "east", **settings)
    assert "queues east.default" in east.err
    assert json.loads(say("list-workers", "--executor", "east", "-o", "json", **settings)[1])[0]["queues"] == "default"
    code, _, err = say("list-workers", **settings)
    assert (code, "no Celery worker answers" in err) == (1, True)
    end(east)


def test_flower_shows_the_workers_to_who_may_see_them(office, own_redis, tmp_path):
    pytest.importorskip("flower")
    people = tmp_path / "people"
    people.write_text("ann:se:cret\n")
    worker = start_worker(office, own_redis)
    flower = run_command(office, own_redis, "celery", "flower", "-p", "0", "-A", str(people), "-u", "/flower/")
    eventually(lambda: "http://" in flower.out)
    url = flower.out.split()[-1] + "/api/workers?refresh=1"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=10)
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {b64encode(b'ann:se:cret').decode()}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert "w@test" in json.load(answer)
    flower.signal(signal.SIGTERM)
    assert flower.wait() == 0
    assert "cret" not in Path(f"/proc/{worker.pid}/cmdline").read_text() + flower.err + flower.out
    end(worker)
