"""Several schedulers of one PostgreSQL database, as real processes: one of them is killed, frozen, or cut off."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import wait_until
from over_postgresql import THERE, SeveralSchedulers, begin_several

SOON = 10.0
"""Far below every timeout but the lease's 2 s."""
BEYOND_THE_LEASE = 3.5


@pytest.fixture
def several(tmp_path: Path, new_url: Callable[..., str]) -> Iterator[SeveralSchedulers]:
    """A home on PostgreSQL with a DAG processor; the schedulers are the test's."""
    made = begin_several(tmp_path / "home", new_url("postgresql"))
    yield made
    made.close()


def finish(several: SeveralSchedulers, dag_id: str, run: str, seconds: float = 30.0) -> list[str]:
    """Let the task end, expect success; the states of its attempts."""
    several.open_gate()
    assert several.wait_for_run(dag_id, run, seconds) == "success", several.states(dag_id, run)
    return [attempt["state"] for attempt in several.attempts(run, "waits")]


def test_a_killed_one_is_taken_over(several):
    """Of its attempts, a local one is killed and runs again; a remote one is adopted, by the executor of its name."""
    several.waiting_on("LocalExecutor")
    several.waiting_on("remote", "far", dag_id="far")
    several.api()
    killed = several.scheduler()
    near, local = several.trigger_waiting()
    far = several.trigger("far")
    remote = several.running_attempt(far, 1)
    heir = several.scheduler()
    killed.stop(signal.SIGKILL)
    for run in (near, far):
        several.wait_for_owner(run, heir, SOON)
    wait_until(lambda: not several.is_alive(local["pid"]), "the local attempt to be killed", SOON)
    several.running_attempt(near, 2)
    wait_until(lambda: ("adopted", "remote", remote["id"]) in several.launches(), "the adoption", SOON)
    assert several.is_alive(remote["pid"])
    assert finish(several, "far", far) == ["success"]
    assert finish(several, "waiting", near) == ["lost", "success"]
    assert several.launches() == [("launched", "remote", remote["id"]), ("adopted", "remote", remote["id"])]
    several.settled(heir)


def test_one_that_is_frozen_beyond_its_lease_on_this_host_keeps_its_runs(several):
    """It is seen to live: what it supervises may run on, and nothing of it is done twice."""
    several.waiting_on("LocalExecutor")
    frozen = several.scheduler()
    run, _ = several.trigger_waiting()
    other = several.scheduler()
    frozen.send(signal.SIGSTOP)
    several.let_pass(BEYOND_THE_LEASE)
    frozen.send(signal.SIGCONT)
    assert finish(several, "waiting", run) == ["success"]
    assert not several.is_buried(frozen)
    several.settled(frozen, other)


def test_one_that_is_frozen_beyond_its_lease_on_another_host_is_buried_and_stops_when_it_wakes(several):
    """Its runs go on elsewhere. It changes nothing any more; what it supervised is stopped, and runs again when it is
    certain to be quiet."""
    several.waiting_on("LocalExecutor")
    several.waiting_on("remote", "far", dag_id="far")
    several.api()
    frozen = several.scheduler(host=THERE)
    near, local = several.trigger_waiting()
    far = several.trigger("far")
    remote = several.running_attempt(far, 1)
    heir = several.scheduler()
    frozen.send(signal.SIGSTOP)
    for run in (near, far):
        several.wait_for_owner(run, heir, SOON)
    events = several.events_of(frozen)
    frozen.send(signal.SIGCONT)
    assert frozen.wait() == 1
    assert "declared dead by another one; its runs belong to others now, so it stops at once" in frozen.text
    assert not several.is_alive(local["pid"])
    assert several.is_alive(remote["pid"])
    assert several.events_of(frozen) == events
    restarted = several.scheduler(host=THERE)
    assert finish(several, "far", far) == ["success"]
    assert finish(several, "waiting", near) == ["lost", "success"]
    assert several.attempts(near, "waits")[0]["reason"] == "no heartbeat for 10 s"
    several.settled(heir, restarted)


@pytest.mark.parametrize("host", ["", THERE], ids=["this host", "another host"])
def test_locks_of_one_that_is_frozen_in_a_transaction_are_taken_from_it(several, host):
    """The others wait for ``idle_transaction_timeout`` and no longer."""
    several.waiting_on("LocalExecutor")
    frozen = several.scheduler(host=host)
    locks = several.lock_pools()
    run = several.trigger("waiting")
    wait_until(several.is_waiting_for_a_lock, "the scheduler to wait for the pools")
    frozen.send(signal.SIGSTOP)
    locks.close()  # the frozen one has them now
    wait_until(several.is_idle_in_transaction, "the frozen transaction")
    other = several.scheduler()
    second = several.trigger("waiting")
    several.open_gate()
    assert several.wait_for_run("waiting", second, SOON) == "success"
    if host:
        wait_until(lambda: several.is_buried(frozen), "the frozen one to be buried", SOON)
    frozen.send(signal.SIGCONT)
    assert several.wait_for_run("waiting", run, SOON) == "success"
    if host:
        assert frozen.wait() == 1
        several.settled(other)
    else:
        assert "the metadata DB is not to be had, again in 1 s" in frozen.text
        several.settled(frozen, other)


CATCHUP = """
from datetime import datetime
from runtime import DAG, task
from journal import busy, witnessed
with DAG("past", schedule="@daily", start_date=datetime(2025, 3, 1), end_date=datetime(2025, 3, 9), catchup=True,
         max_active_runs=3):
    @task(pool="narrow")
    def day(ds=None, run_id=None, ti=None):
        with witnessed(f"past.{ti.task_id}.{run_id}"):
            busy(0.1)
        return ds
    for number in range(2):
        day.override(task_id=f"day_{number}")()
"""


def test_one_run_per_date_and_no_limit_passed_while_one_is_killed(several):
    several.query("INSERT INTO pool (name, slots, description) VALUES ('narrow', 2, '')")
    schedulers = [several.scheduler(), several.scheduler()]
    several.write_dag("past", CATCHUP)
    wait_until(lambda: len(several.query("SELECT 1 FROM dag_run WHERE state = 'success'")) > 2, "first runs")
    schedulers[0].stop(signal.SIGKILL)
    schedulers[0] = several.scheduler()
    wait_until(lambda: len(several.query("SELECT 1 FROM dag_run WHERE state = 'success'")) == 9, "9 runs")
    runs = several.query("SELECT run_id FROM dag_run ORDER BY logical_date")
    assert [several.xcom(run["run_id"], "day_1") for run in runs] == [f"2025-03-{day:02}" for day in range(1, 10)]
    several.settled(*schedulers)


SHIPPED = {
    "database": {"answer_timeout": "6", "idle_transaction_timeout": "5"},
    "scheduler": {
        "scheduler_idle_sleep_time": "1",
        "scheduler_heartbeat_sec": "5",
        "job_heartbeat_sec": "5",
        "lease_seconds": "10",
        "task_heartbeat_sec": "10",
        "task_instance_heartbeat_timeout": "60",
    },
    "core": {"executor": "LocalExecutor, heavy:LocalExecutor, remote:adopting.Adopting"},
}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("host", ["", THERE], ids=["this host", "another host"])
def test_frozen_for_40_s_in_the_middle_of_runs_with_the_timers_as_shipped(tmp_path, new_url, host):
    """Nothing lost, nothing doubled. Of another host, it is buried, stops when it wakes, and is started again."""
    several = begin_several(tmp_path / "home", new_url("postgresql"), SHIPPED)
    try:
        several.mixed()
        several.waiting_on("remote", "far", dag_id="far")
        several.api()
        frozen = several.scheduler(host=host)
        runs = [several.trigger("mixed") for _ in range(3)]
        far = several.trigger("far")
        attempt = several.running_attempt(far, 1)
        other = several.scheduler()
        runs += [several.trigger("mixed") for _ in range(2)]
        several.let_pass(0.5)
        frozen.send(signal.SIGSTOP)
        several.let_pass(40.0)
        frozen.send(signal.SIGCONT)
        if host:
            assert frozen.wait() == 1
            frozen = several.scheduler(host=host)
        for run in runs:
            assert several.wait_for_run("mixed", run, 120) == "success", several.states("mixed", run)
        assert several.is_alive(attempt["pid"])
        assert finish(several, "far", far) == ["success"]
        several.settled(frozen, other)
    finally:
        several.close()
