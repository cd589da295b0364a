"""``kill -9`` of what runs below the scheduler: noticed at once, charged to whom it concerns."""

from __future__ import annotations

import signal

import pytest
from deployment import wait_until
from faulty import FAST, SLOTS

SOON = 8.0
"""Far below every timeout that could have noticed it instead."""


def second_attempt(faulty, run):
    wait_until(lambda: len(faulty.attempts(run, "waits")) == 2, "a second attempt", SOON)
    return faulty.running_attempt(run, 2)


def expect(faulty, run, *, tries, losses, states):
    """Open the gate, wait for success; what the task instance and its attempts say then."""
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    record = faulty.states("waiting", run)["waits"]
    assert (record["try_number"], record["infra_losses"]) == (tries, losses)
    assert [attempt["state"] for attempt in faulty.attempts(run, "waits")] == states


def test_zygote_in_mid_task(faulty):
    """Its workers die with it; the task runs again without a charge to its retries."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, attempt = faulty.trigger_waiting()
    faulty.worker_of(attempt).parent().kill()
    second_attempt(faulty, run)
    assert "zygote" in faulty.attempts(run, "waits")[0]["reason"]
    expect(faulty, run, tries=1, losses=1, states=["lost", "success"])
    faulty.settle(scheduler)


def test_idle_zygotes(faulty):
    """Killed while nothing runs: the next task finds new ones."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    faulty.open_gate()
    faulty.run_to_end("waiting")
    for zygote in wait_until(lambda: faulty.ready_zygotes(scheduler, len(SLOTS)), "both zygotes"):
        zygote.kill()
    run = faulty.trigger("waiting")
    expect(faulty, run, tries=1, losses=0, states=["success"])
    faulty.settle(scheduler)


def test_worker_in_mid_task(faulty):
    faulty.waiting()
    scheduler = faulty.scheduler()
    run, attempt = faulty.trigger_waiting()
    worker = faulty.worker_of(attempt)
    worker.kill()
    second_attempt(faulty, run)
    assert faulty.attempts(run, "waits")[0]["reason"] == f"worker process {worker.pid} was killed by SIGKILL"
    expect(faulty, run, tries=1, losses=1, states=["lost", "success"])
    faulty.settle(scheduler)


def test_worker_before_the_start_was_granted(faulty):
    """Frozen first, so that the attempt waits in its socket: nothing ever ran, so nothing is charged to anybody."""
    faulty.waiting()
    scheduler = faulty.scheduler()
    faulty.open_gate()
    faulty.run_to_end("waiting")
    (faulty.home / "gate").unlink()
    workers = wait_until(lambda: faulty.workers(scheduler), "a warm worker")
    for worker in workers:
        worker.suspend()
    run = faulty.trigger("waiting")
    wait_until(
        lambda: faulty.query("SELECT 1 FROM executor_status WHERE running = 1 AND name = 'LocalExecutor'"),
        "the hand-over",
    )
    for worker in workers:
        worker.kill()
    second_attempt(faulty, run)
    assert faulty.attempts(run, "waits")[0]["started_at"] is None
    expect(faulty, run, tries=1, losses=0, states=["lost", "success"])
    faulty.settle(scheduler)


def test_the_process_of_the_attempt_itself(faulty):
    """Its supervisor saw it: a failure of the task, which its own retries pay for."""
    faulty.waiting(retries=1)
    scheduler = faulty.scheduler()
    run, attempt = faulty.trigger_waiting()
    faulty.kill_pid(attempt["pid"])
    second_attempt(faulty, run)
    assert "killed by SIGKILL" in faulty.attempts(run, "waits")[0]["reason"]
    expect(faulty, run, tries=2, losses=0, states=["failed", "success"])
    faulty.settle(scheduler)


@pytest.mark.parametrize(("infra_retries", "losses"), [(2, 2), (0, 0)])
def test_losses_beyond_infra_retries_are_charged_to_the_task(faulty, infra_retries, losses):
    """``infra_retries`` are forgiven, the next one is a failed try; 0 is Airflow's behaviour."""
    faulty.configure({"scheduler": {**FAST["scheduler"], "infra_retries": str(infra_retries)}})
    faulty.waiting(retries=1)
    scheduler = faulty.scheduler()
    run = faulty.trigger("waiting")
    for count in range(1, infra_retries + 2):
        faulty.worker_of(faulty.running_attempt(run, count)).kill()
    faulty.running_attempt(run, infra_retries + 2)
    expect(faulty, run, tries=2, losses=losses, states=["lost"] * (infra_retries + 1) + ["success"])
    faulty.settle(scheduler)


def test_workers_die_while_a_run_goes_on(faulty, seed):
    """Random workers of both executors, several times in one run."""
    dice = faulty.dice(seed)
    faulty.mixed()
    # Each task instance may be hit each time.
    faulty.configure({"scheduler": {**FAST["scheduler"], "infra_retries": "9"}})
    scheduler = faulty.scheduler()
    run = faulty.trigger("mixed")
    for _ in range(4):
        faulty.let_pass(dice.uniform(0.05, 0.3))
        workers = faulty.workers(scheduler)
        if workers:
            dice.choice(workers).kill()
    assert faulty.wait_for_run("mixed", run) == "success", faulty.states("mixed", run)
    assert set(faulty.task_states(run).values()) == {"success"}
    faulty.settle(scheduler)


@pytest.mark.parametrize("name", ["dag-processor", "scheduler"])
def test_standalone_ends_with_a_daemon_that_died(faulty, name):
    """It restarts nothing: it says who died, and stops the other one in good order."""
    faulty.daemons[0].stop()
    standalone = faulty.standalone()
    victim = faulty.child_titled(standalone, name)
    victim.kill()
    assert standalone.wait() == 1
    assert f"hybrid: {name} was ended by {signal.SIGKILL.name}; stopping the rest" in standalone.text
    assert faulty.strays() == []
