"""The same on RabbitMQ. Opt-in: ``AMQP_URL=amqp://user:word@host// pytest -m rabbitmq tests/integration/celery``."""

from __future__ import annotations

import os
import uuid

import pytest
from celery_host import drive, make_workload, starts, worker

from executors.events import Succeeded

pytestmark = [pytest.mark.rabbitmq, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def options() -> dict[str, str]:
    return {"broker_url": os.environ["AMQP_URL"], "queue_prefix": f"test-{uuid.uuid4()}."}


def test_attempts_go_through_it(options, table, started):
    executor = started(options["broker_url"], table, queue_prefix=options["queue_prefix"], stuck_after="0.2")
    workloads = [make_workload(table) for _ in range(20)]
    for workload in workloads:
        executor.queue_workload(workload)
    drive(executor, lambda: not executor.queued_tasks and not executor.deliveries.due(0.0))
    assert executor._repeats == 0, "what waits in its queue is not repeated"
    with worker(options, table):
        events = drive(executor, lambda: not executor.running)
        assert executor.health_check() is None
    assert {event.key for event in events if isinstance(event, Succeeded)} == {workload.key for workload in workloads}
    assert len(starts(table)) == len(set(starts(table))) == 20
