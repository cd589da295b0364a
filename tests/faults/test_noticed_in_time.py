"""How soon a death is noticed, with options as shipped."""

from __future__ import annotations

import pytest
from deployment import wait_until

from runtime.core.clock import now

WORKER_MILLISECONDS = 200.0
MEASUREMENTS = 5
"""Others may share the machine: the best counts. What waits for a timer waits every time."""


@pytest.mark.timed
def test_a_dead_local_worker(faulty):
    """From SIGKILL until its attempt is over in the database."""
    faulty.configure({"scheduler": {"infra_retries": str(MEASUREMENTS)}})
    faulty.waiting()
    scheduler = faulty.scheduler()
    run = faulty.trigger("waiting")
    found: list[float] = []
    for count in range(1, MEASUREMENTS + 1):
        worker = faulty.worker_of(faulty.running_attempt(run, count))
        killed = now()
        worker.kill()
        lost = wait_until(lambda count=count: _ended(faulty, run, count), "the loss")
        found.append((lost["ended_at"] - killed) / 1000)
    print(f"a dead local worker is noticed after {sorted(found)} ms")
    assert min(found) <= WORKER_MILLISECONDS
    faulty.open_gate()
    assert faulty.wait_for_run("waiting", run) == "success"
    faulty.settle(scheduler)


def _ended(faulty, run, count):
    attempts = faulty.attempts(run, "waits")
    return attempts[count - 1] if attempts[count - 1]["ended_at"] is not None else None
