"""Attempts that report over HTTP: the API, a supervisor, an attempt are killed or frozen, launches come twice."""

from __future__ import annotations

import signal
from contextlib import suppress

import psutil
import pytest
from deployment import wait_until
from faulty import FAST, waiting_text
from over_http import SLOTS, begin_http, wait_for_launch

SOON = 8.0
"""Far below every timeout that could have noticed it instead."""
AFTER_TIMEOUT = 40.0
"""Above ``task_instance_heartbeat_timeout`` (10 s), also where the API must first have been back for as long."""
BY_EXECUTOR = pytest.mark.parametrize("executor", ["remote", "heavy"])


@pytest.fixture
def http(tmp_path):
    made = begin_http(tmp_path / "home")
    yield made
    made.close()


def waiting_on(http, executor: str, retries: int = 0) -> None:
    """The DAG ``waiting`` on that executor."""
    http.write_dag("waiting", waiting_text(retries).replace('DAG("waiting")', f'DAG("waiting", executor="{executor}")'))
    http.wait_for_dag("waiting")


def expect_success(http, run, *, states, losses, tries=1):
    http.open_gate()
    assert http.wait_for_run("waiting", run, AFTER_TIMEOUT) == "success"
    record = http.states("waiting", run)["waits"]
    assert [attempt["state"] for attempt in http.attempts(run, "waits")] == states
    assert (record["try_number"], record["infra_losses"]) == (tries, losses)


# -- the API server


@BY_EXECUTOR
def test_api_is_killed_and_back_within_the_limit(http, executor):
    """The task does not notice; its supervisor repeats its heartbeats."""
    waiting_on(http, executor)
    http.configure({**FAST, "scheduler": {**FAST["scheduler"], "task_instance_heartbeat_timeout": "30"}})
    api, scheduler = http.api(), http.scheduler()
    run, attempt = http.trigger_waiting()
    api.kill_group()
    http.let_pass(3.0)
    assert http.is_alive(attempt["pid"])
    http.api()
    expect_success(http, run, states=["success"], losses=0)
    http.settle(scheduler, SLOTS)


def test_reports_wait_for_an_api_that_is_down(http):
    """Both the start and the final report: nothing is lost, nothing is done twice."""
    waiting_on(http, "remote")
    scheduler = http.scheduler()
    run = http.trigger("waiting")
    wait_for_launch(http, run)
    http.let_pass(1.0)
    api = http.api()
    http.running_attempt(run, 1)
    api.kill_group()
    http.open_gate()
    http.let_pass(2.5)
    assert http.task_states(run) == {"waits": "running"}
    http.api()
    expect_success(http, run, states=["success"], losses=0)
    http.settle(scheduler, SLOTS)


@pytest.mark.parametrize("executor", ["heavy", pytest.param("remote", marks=pytest.mark.slow)])
def test_api_down_beyond_the_limit(http, executor):
    """The supervisor stops its task by itself; it runs again once the API is back, and not while it is away."""
    waiting_on(http, executor)
    api, scheduler = http.api(), http.scheduler()
    run, attempt = http.trigger_waiting()
    api.kill_group()
    wait_until(lambda: not http.is_alive(attempt["pid"]), "the supervisor to stop its task", 15)
    http.api()
    wait_until(lambda: len(http.attempts(run, "waits")) == 2, "a second attempt", AFTER_TIMEOUT)
    expect_success(http, run, states=["lost", "success"], losses=1)
    http.settle(scheduler, SLOTS)


def test_api_is_killed_while_a_run_goes_on(http, seed):
    """Several times, at random moments: in the middle of starts and of finishes."""
    dice = http.dice(seed)
    http.mixed()
    api, scheduler = http.api(), http.scheduler()
    run = http.trigger("mixed")
    for _ in range(3):
        http.let_pass(dice.uniform(0.05, 0.6))
        api.kill_group()
        http.let_pass(dice.uniform(0.0, 0.3))
        api = http.api()
    assert http.wait_for_run("mixed", run, 60) == "success", http.states("mixed", run)
    http.settle(scheduler, SLOTS)


# -- what runs the attempt


def test_supervisor_of_a_local_executor_is_killed(http):
    waiting_on(http, "heavy")
    http.api()
    scheduler = http.scheduler()
    run, attempt = http.trigger_waiting()
    http.kill_pid(http.launch_of(attempt))
    wait_until(lambda: len(http.attempts(run, "waits")) == 2, "a second attempt", SOON)
    expect_success(http, run, states=["lost", "success"], losses=1)
    http.settle(scheduler, SLOTS)


def test_supervisor_of_a_remote_executor_is_killed(http):
    """The backend's word is no proof: only the heartbeat timeout is."""
    waiting_on(http, "remote")
    http.api()
    scheduler = http.scheduler()
    run, attempt = http.trigger_waiting()
    http.kill_pid(http.launch_of(attempt))
    wait_until(lambda: not http.is_alive(attempt["pid"]), "the attempt to die with its supervisor", SOON)
    wait_until(lambda: len(http.attempts(run, "waits")) == 2, "a second attempt", AFTER_TIMEOUT)
    assert http.attempts(run, "waits")[0]["reason"] == "no heartbeat for 10 s"
    expect_success(http, run, states=["lost", "success"], losses=1)
    http.settle(scheduler, SLOTS)


@BY_EXECUTOR
def test_process_of_the_attempt_is_killed(http, executor):
    """Its supervisor saw it: the task's own retries pay."""
    waiting_on(http, executor, retries=1)
    http.api()
    scheduler = http.scheduler()
    run, attempt = http.trigger_waiting()
    http.kill_pid(attempt["pid"])
    wait_until(lambda: len(http.attempts(run, "waits")) == 2, "a second attempt", SOON)
    expect_success(http, run, states=["failed", "success"], losses=0, tries=2)
    http.settle(scheduler, SLOTS)


def test_launches_that_are_killed_before_their_start_cost_nothing(http):
    """The API is down, so that they wait: nothing of the attempt has run."""
    waiting_on(http, "heavy")
    scheduler = http.scheduler()
    run = http.trigger("waiting")
    launch = wait_until(
        lambda: next((p for p in http.processes() if _runs(p, wait_for_launch(http, run)["id"])), None), "the launch"
    )
    launch.kill()
    wait_until(lambda: len(http.attempts(run, "waits")) >= 2, "another attempt", SOON)
    http.api()
    http.open_gate()
    assert http.wait_for_run("waiting", run) == "success"
    record = http.states("waiting", run)["waits"]
    assert (record["try_number"], record["infra_losses"]) == (1, 0)
    assert http.attempts(run, "waits")[0]["started_at"] is None
    http.settle(scheduler, SLOTS)


def test_every_launch_comes_twice(http, seed):
    """User code runs once; the other launch is refused and leaves."""
    http.configure({**FAST, "popen": {"parallelism": "4", "copies": str(2 + seed % 2)}})
    http.mixed()
    http.api()
    scheduler = http.scheduler()
    run = http.trigger("mixed")
    assert http.wait_for_run("mixed", run, 60) == "success", http.states("mixed", run)
    http.settle(scheduler, SLOTS)


@pytest.mark.parametrize("executor", ["heavy", pytest.param("remote", marks=pytest.mark.slow)])
def test_a_frozen_launch_is_given_up_and_does_no_harm_when_it_wakes(http, executor):
    waiting_on(http, executor)
    http.api()
    scheduler = http.scheduler()
    run, attempt = http.trigger_waiting()
    frozen = [psutil.Process(http.launch_of(attempt)), psutil.Process(attempt["pid"])]
    for process in frozen:
        process.suspend()
    wait_until(lambda: len(http.attempts(run, "waits")) == 2, "the attempt to be given up", AFTER_TIMEOUT)
    if executor == "heavy":
        # Nobody can kill what froze on another host; there the next attempt must not share the journal's lock.
        http.running_attempt(run, 2)
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    wait_until(lambda: not http.is_alive(attempt["pid"]), "what was frozen to end", 3)
    http.open_gate()
    assert http.wait_for_run("waiting", run, AFTER_TIMEOUT) == "success"
    if executor == "heavy":
        assert [a["state"] for a in http.attempts(run, "waits")] == ["lost", "success"]
        http.settle(scheduler, SLOTS)
    else:
        assert http.attempts(run, "waits")[0]["state"] == "lost"


def test_supervisors_attempts_and_the_api_die_while_a_run_goes_on(http, seed):
    dice = http.dice(seed)
    http.mixed()
    http.configure({"scheduler": {**FAST["scheduler"], "infra_retries": "9"}})
    api, scheduler = http.api(), http.scheduler()
    run = http.trigger("mixed")
    for _ in range(4):
        http.let_pass(dice.uniform(0.1, 0.4))
        blow = dice.choice(["launch", "launch", "api"])
        if blow == "api":
            api.kill_group()
            api = http.api()
        elif launches := [p for p in psutil.Process(scheduler.pid).children() if _may_be_killed(p)]:
            with suppress(psutil.NoSuchProcess):
                dice.choice(launches).kill()
    assert http.wait_for_run("mixed", run, 90) == "success", http.states("mixed", run)
    http.settle(scheduler, SLOTS)


def test_scheduler_is_killed_while_remote_attempts_go_on(http):
    """They report all the same, to the API; the next scheduler finds their reports."""
    waiting_on(http, "remote")
    http.api()
    first = http.scheduler()
    run, attempt = http.trigger_waiting()
    first.send(signal.SIGKILL)
    first.wait()
    assert http.is_alive(attempt["pid"])
    http.open_gate()
    wait_until(lambda: http.task_states(run) == {"waits": "success"}, "the report")
    second = http.scheduler()
    assert http.wait_for_run("waiting", run) == "success"
    assert len(http.attempts(run, "waits")) == 1
    http.settle(second, SLOTS)


def _may_be_killed(process: psutil.Process) -> bool:
    """A launch, but not of a Bash task on ``remote``: what that leaves behind nobody can look for on another host."""
    with suppress(psutil.NoSuchProcess):
        title = " ".join(process.cmdline())
        return "hybrid task" in title and not any(f"mixed.shell_{number} " in title for number in (0, 2))
    return False


def _runs(process: psutil.Process, attempt_id: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return attempt_id in " ".join(process.cmdline())
    return False


@pytest.mark.slow
def test_api_down_for_half_a_minute_with_the_timers_as_shipped(http):
    http.configure({"scheduler": {"task_heartbeat_sec": "10"}})
    http.write_dag("waiting", waiting_text(0))
    api, scheduler = http.api(), http.scheduler()
    run, attempt = http.trigger_waiting()
    api.kill_group()
    http.let_pass(30.0)
    assert http.is_alive(attempt["pid"])
    http.api()
    expect_success(http, run, states=["success"], losses=0)
    http.settle(scheduler, SLOTS)
