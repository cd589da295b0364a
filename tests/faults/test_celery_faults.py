"""Attempts on Celery workers over a real Redis: all is killed, frozen, emptied or doubled, in turn and at random.

After each: every attempt has ended, none ran twice at once, no slot is held (the checker reads database and journal).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from checker import Story
from deployment import wait_until
from over_celery import SLOTS, CeleryDeployment, begin_celery, thaw

SOON = 8.0
"""Far below every timeout that could have noticed it instead."""
AFTER_TIMEOUT = 60.0
"""Above ``task_instance_heartbeat_timeout`` (10 s), also where the API must first have been back for as long."""
EVERYTHING = 180.0


@pytest.fixture
def celery(tmp_path: Path) -> Iterator[CeleryDeployment]:
    made = begin_celery(tmp_path / "home")
    yield made
    made.close()


def expect_success(celery, run, *, states, losses, tries=1):
    celery.open_gate()
    assert celery.wait_for_run("waiting", run, AFTER_TIMEOUT) == "success"
    record = celery.states("waiting", run)["waits"]
    assert [attempt["state"] for attempt in celery.attempts(run, "waits")] == states
    assert (record["try_number"], record["infra_losses"]) == (tries, losses)


# -- the worker


@pytest.mark.parametrize("whom", ["pool", "supervisor"])
def test_process_of_the_pool_or_its_supervisor_is_killed(celery, whom):
    """The attempt dies with it; the redelivered message starts nothing; the slot is free after the timeout."""
    celery.waiting()
    scheduler, worker = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    killed = celery.child_of_attempt(attempt) if whom == "pool" else celery.worker_of(attempt)
    celery.kill_pid(killed.pid)
    wait_until(lambda: not celery.is_alive(attempt["pid"]), "the attempt to die with it", SOON)
    celery.wait_for_attempt(run, 2)
    assert celery.attempts(run, "waits")[0]["reason"] == "no heartbeat for 10 s"
    expect_success(celery, run, states=["lost", "success"], losses=1)
    assert len(celery.children_of(worker)) == 2, "the pool is whole again"
    celery.settle(scheduler, SLOTS)


def test_what_an_attempt_left_behind_dies_with_its_pool_process(celery):
    """Daemons of its own too, which nobody but the worker can know of."""
    celery.write_dag("leaves", LEAVES)
    scheduler, worker = celery.begin_all()
    run = celery.trigger("leaves")
    left = wait_until(lambda: [p for p in celery.processes() if p.name() == "sleep"], "the daemon")
    celery.kill_pid(celery.worker_of(celery.attempts(run, "leaves")[0]).pid)
    wait_until(lambda: not any(map(psutil.Process.is_running, left)), "the daemon to end", SOON)
    assert worker.process.poll() is None
    celery.open_gate()
    celery.wait_for_run("leaves", run, AFTER_TIMEOUT)
    celery.settle(scheduler, SLOTS)


def test_worker_is_killed(celery):
    """All of it; another one takes over."""
    celery.waiting()
    scheduler, worker = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    worker.send(signal.SIGKILL)
    wait_until(lambda: not celery.is_alive(attempt["pid"]), "the attempt to die with it", SOON)
    celery.worker()
    celery.wait_for_attempt(run, 2)
    expect_success(celery, run, states=["lost", "success"], losses=1)
    celery.settle(scheduler, SLOTS)


def test_process_of_the_attempt_is_killed(celery):
    """Its supervisor saw it: the task's own retries pay."""
    celery.waiting(retries=1)
    scheduler, _ = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    celery.kill_pid(attempt["pid"])
    celery.wait_for_attempt(run, 2)
    expect_success(celery, run, states=["failed", "success"], losses=0, tries=2)
    celery.settle(scheduler, SLOTS)


def test_frozen_beyond_every_timeout(celery):
    """Its message is given to another worker, who may not start it; it is given up; when it wakes it does no harm."""
    celery.configure({"celery_broker_transport_options": {"visibility_timeout": "2"}})
    celery.waiting()
    scheduler, first = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    frozen = celery.freeze(first)
    celery.wait_for_overdue(2.0)
    second = celery.worker()
    celery.wait_for_words(second, f"attempt {attempt['id']}: not started")
    assert second.stop() == 0, "or it would run the next attempt beside one that may wake"
    celery.wait_for_attempt(run, 2)
    thaw(frozen)
    wait_until(lambda: not celery.is_alive(attempt["pid"]), "what was frozen to end", SOON)
    expect_success(celery, run, states=["lost", "success"], losses=1)
    celery.settle(scheduler, SLOTS)


def test_first_signal_lets_what_runs_end(celery):
    """And gives back what it had fetched: another worker runs that meanwhile."""
    celery.configure({"celery": {"worker_prefetch_multiplier": "4", "worker_concurrency": "1", "stuck_after": "60"}})
    celery.waiting()
    scheduler, first = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    celery.write_dag("quick", QUICK)
    quick = celery.trigger("quick")
    wait_until(lambda: len(celery.task_states(quick)) == 3 and not celery.messages(), "the messages to be fetched")
    first.send(signal.SIGTERM)
    celery.wait_for_words(first, "stopping; running attempts may end")
    celery.worker()
    assert celery.wait_for_run("quick", quick) == "success", "fetched by the first, run by the second"
    assert first.process.poll() is None
    assert celery.is_alive(attempt["pid"])
    celery.open_gate()
    assert first.wait() == 0
    expect_success(celery, run, states=["success"], losses=0)
    celery.settle(scheduler, SLOTS)


def test_second_signal_stops_what_runs(celery):
    """It is reported as stopped, so that the task's retries decide, at once."""
    celery.waiting(retries=1)
    scheduler, first = celery.begin_all()
    run, _ = celery.trigger_waiting()
    first.send(signal.SIGTERM)
    celery.wait_for_words(first, "stopping; running attempts may end")
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    celery.worker()
    celery.wait_for_attempt(run, 2)
    assert celery.attempts(run, "waits")[0]["reason"] == "its Celery worker was stopped"
    expect_success(celery, run, states=["failed", "success"], losses=0, tries=2)
    celery.settle(scheduler, SLOTS)


# -- the broker


def test_redis_is_restarted_under_a_running_attempt(celery):
    """The attempt does not notice; the worker finds Redis again by itself, and takes what comes afterwards."""
    celery.waiting()
    scheduler, worker = celery.begin_all()
    run, attempt = celery.trigger_waiting()
    celery.redis.kill()
    celery.wait_for_words(worker, "Cannot connect")
    celery.redis.start()
    assert celery.is_alive(attempt["pid"])
    expect_success(celery, run, states=["success"], losses=0)
    celery.run_to_end("waiting")
    assert worker.process.poll() is None
    celery.settle(scheduler, SLOTS, quiet=False)


def test_redis_is_restarted_empty_while_a_run_goes_on(celery, seed):
    dice = celery.dice(seed)
    celery.mixed()
    scheduler, _ = celery.begin_all()
    run = celery.trigger("mixed")
    for _ in range(2):
        celery.let_pass(dice.uniform(0.1, 0.8))
        celery.redis.kill()
        celery.let_pass(dice.uniform(0.0, 1.5))
        celery.redis.start()
    assert celery.wait_for_run("mixed", run, AFTER_TIMEOUT) == "success", celery.states("mixed", run)
    celery.settle(scheduler, SLOTS, quiet=False)


def test_flushall_while_a_run_goes_on(celery, seed):
    dice = celery.dice(seed)
    celery.mixed()
    scheduler, _ = celery.begin_all()
    run = celery.trigger("mixed")
    for _ in range(3):
        celery.let_pass(dice.uniform(0.1, 0.6))
        celery.redis.flush()
    assert celery.wait_for_run("mixed", run, AFTER_TIMEOUT) == "success", celery.states("mixed", run)
    celery.settle(scheduler, SLOTS, quiet=False)


def test_redis_hangs_while_a_run_goes_on(celery, seed):
    """Local work is not held up by it."""
    dice = celery.dice(seed)
    celery.mixed()
    scheduler, _ = celery.begin_all()
    run = celery.trigger("mixed")
    for _ in range(2):
        celery.let_pass(dice.uniform(0.1, 0.6))
        celery.redis.freeze()
        celery.let_pass(dice.uniform(0.5, 2.0))
        celery.redis.thaw()
    assert celery.wait_for_run("mixed", run, AFTER_TIMEOUT) == "success", celery.states("mixed", run)
    celery.settle(scheduler, SLOTS, quiet=False)


def test_every_message_comes_three_times(celery):
    """User code runs once; the others are refused the start."""
    celery.mixed()
    celery.api()
    scheduler = celery.scheduler()
    run = celery.trigger("mixed")
    wait_until(celery.messages, "messages")
    seen: set[str] = set()

    def doubled() -> bool:
        for message in celery.messages():
            if message not in seen:
                seen.add(message)
                celery.redis.call("LPUSH", "default", message, message)
        return celery.run_state("mixed", run) in ("success", "failed")

    assert not doubled()
    worker = celery.worker()
    wait_until(doubled, "the end of the run", AFTER_TIMEOUT)
    assert celery.run_state("mixed", run) == "success"
    celery.wait_for_words(worker, "not started")
    celery.settle(scheduler, SLOTS)


# -- the scheduler


def test_scheduler_is_killed_between_commit_and_publish(celery):
    """Redis is down, so that it commits and cannot publish; the next scheduler does."""
    celery.waiting()
    celery.api()
    celery.redis.kill()
    first = celery.scheduler()
    run = celery.trigger("waiting")
    attempt = celery.wait_for_attempt(run)
    first.send(signal.SIGKILL)
    first.wait()
    celery.redis.start()
    celery.worker()
    second = celery.scheduler()
    celery.open_gate()
    assert celery.wait_for_run("waiting", run, AFTER_TIMEOUT) == "success"
    assert [one["id"] for one in celery.attempts(run, "waits")][-1:] == [attempt["id"]]
    celery.settle(second, SLOTS)


def test_scheduler_is_killed_between_publish_and_answer(celery):
    """Redis has got the message, and answers nobody; what the next scheduler sends again starts nothing more."""
    celery.waiting()
    celery.api()
    first = celery.scheduler()
    warm = celery.trigger("waiting")
    wait_until(celery.messages, "a message, so that there is a connection")
    celery.redis.freeze()
    run = celery.trigger("waiting")
    celery.wait_for_attempt(run)
    celery.let_pass(0.3)  # into the socket
    first.send(signal.SIGKILL)
    first.wait()
    celery.redis.thaw()
    celery.worker()
    second = celery.scheduler()
    celery.open_gate()
    for one in (warm, run):
        assert celery.wait_for_run("waiting", one, AFTER_TIMEOUT) == "success"
        assert len(celery.attempts(one, "waits")) == 1
    celery.settle(second, SLOTS)


# -- everything at random


@pytest.mark.slow
def test_everything_at_random(celery, seed):
    """A few dozen attempts while pool processes, workers, Redis, the API and schedulers are killed."""
    _storm(celery, seed, runs=3, blows=6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousand_attempts_at_random(celery):
    story = _storm(celery, seed=2024, runs=84, blows=90, patience=2400.0)
    assert len(story.instances) == 1008
    assert sum(attempt["state"] == "lost" for attempt in story.attempts) > 10, "it has struck"


def _storm(celery, seed: int, *, runs: int, blows: int, patience: float = EVERYTHING) -> Story:
    dice = celery.dice(seed)
    celery.configure({"scheduler": {"infra_retries": "1000"}})
    celery.write_dag("storm", STORM)
    celery.wait_for_dag("storm")
    daemons = {"api": celery.api(), "scheduler": celery.scheduler()}
    workers = [celery.worker(), celery.worker()]
    ids = [celery.trigger("storm") for _ in range(runs)]
    for _ in range(blows):
        celery.let_pass(dice.uniform(0.2, 1.5))
        _strike(celery, dice, daemons, workers)
    celery.redis.thaw()
    for run in ids:
        assert celery.wait_for_run("storm", run, patience) == "success", celery.task_states(run)
    return celery.settle(daemons["scheduler"], SLOTS, quiet=False)


def _strike(celery, dice, daemons, workers) -> None:
    blow = dice.choice(["child", "below", "below", "worker", "redis", "flush", "freeze", "double", "api", "scheduler"])
    if blow in ("child", "below"):
        found = [child for worker in workers for child in celery.children_of(worker)]
        with suppress(psutil.NoSuchProcess, IndexError):
            if blow == "below":
                found = [below for child in found for below in child.children(recursive=True)]
            dice.choice(found).kill()
    elif blow == "worker":
        index = dice.randrange(len(workers))
        workers[index].send(signal.SIGKILL)
        workers[index] = celery.worker()
    elif blow == "redis":
        celery.redis.restart()
    elif blow == "flush":
        celery.redis.flush()
    elif blow == "freeze":
        celery.redis.freeze()
        celery.let_pass(dice.uniform(0.1, 1.5))
        celery.redis.thaw()
    elif blow == "double":
        for message in celery.messages():
            celery.redis.call("LPUSH", "default", message)
    elif blow == "api":
        daemons["api"].kill_group()
        daemons["api"] = celery.api()
    else:
        daemons["scheduler"].send(signal.SIGKILL)
        daemons["scheduler"] = celery.scheduler()


LEAVES = """
import os, subprocess
from runtime import DAG, task
from journal import busy

with DAG("leaves"):
    @task
    def leaves():
        gate = os.path.join(os.environ["HYBRID_HOME"], "gate")
        if not os.path.exists(gate):
            subprocess.Popen(["setsid", "sleep", "300"])
        while not os.path.exists(gate):
            busy(0.02)
    leaves()
"""
QUICK = """
from runtime import DAG, task

with DAG("quick"):
    @task
    def quick(n):
        return n
    for n in range(3):
        quick.override(task_id=f"quick_{n}")(n)
"""
STORM = """
from runtime import DAG, task
from journal import busy, witnessed

@task(retries=1000, retry_delay=0.1)
def step(n, run_id=None):
    with witnessed(f"storm.step_{n}.{run_id}"):
        busy(0.3 + 0.2 * (n % 7))

with DAG("storm", max_active_runs=4):
    steps = [step.override(task_id=f"step_{n}", executor="heavy" if n % 4 == 0 else None)(n) for n in range(12)]
    for one, other in zip(steps[:6], steps[6:]):
        one >> other
"""
"""12 tasks a run, a quarter of them local; so long that the slots are full while it storms."""
