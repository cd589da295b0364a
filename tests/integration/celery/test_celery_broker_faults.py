"""A broker that dies, forgets, hangs, refuses or is not there: nothing is lost or runs twice, no secret is told."""

from __future__ import annotations

import logging
import time
import traceback

import pytest
from celery_host import drive, make_workload, starts, worker

from executors.celery.errors import BrokerError, BrokerTimeoutError
from executors.events import Succeeded
from tests.redis_server import RedisServer

ATTEMPTS = 12


def all_end_once(executor, table, workloads):
    """Heartbeats until each has reported. Celery fails a task that it could not note as started, without running it:
    then the scheduler launches another attempt.
    """
    wanted = {workload.key for workload in workloads}
    reported = set()
    while wanted != reported:
        for event in drive(executor, lambda: not executor.running and not executor.queued_tasks):
            if isinstance(event, Succeeded):
                reported.add(event.key)
            else:
                assert event.key.attempt_id not in starts(table), f"it was started, and then {event}"
                wanted.discard(event.key)
                executor.queue_workload(again := make_workload(table))
                wanted.add(again.key)
    assert sorted(starts(table)) == sorted(key.attempt_id for key in wanted), "once each"
    assert executor.slots_occupied == 0


class TestWithAWorker:
    @pytest.fixture
    def executor(self, own_redis, table, started):
        executor = started(own_redis.url, table, stuck_after="1")
        with worker({"broker_url": own_redis.url}, table, concurrency=2):
            yield executor

    def queue(self, executor, table, number=ATTEMPTS):
        workloads = [make_workload(table, "sleep", "0.05") for _ in range(number)]
        for workload in workloads:
            executor.queue_workload(workload)
        return workloads

    def test_redis_is_killed_and_comes_back_empty(self, executor, own_redis, table):
        """What waited there is sent again, what was queued meanwhile follows."""
        workloads = self.queue(executor, table)
        drive(executor, lambda: len(starts(table)) >= 2)
        own_redis.kill()
        workloads += self.queue(executor, table)
        with pytest.raises(BrokerError, match="cannot be reached"):
            executor.heartbeat()
        assert len(executor.queued_tasks) >= ATTEMPTS, "what cannot be published stays queued"
        own_redis.start()
        all_end_once(executor, table, workloads)

    def test_flushall_in_mid_run(self, executor, own_redis, table):
        workloads = self.queue(executor, table)
        drive(executor, lambda: len(starts(table)) >= 2)
        own_redis.flush()
        all_end_once(executor, table, workloads)

    def test_redis_hangs_and_goes_on(self, executor, own_redis, table):
        """A publish whose answer is not awaited may have arrived; it is repeated all the same."""
        workloads = self.queue(executor, table, 4)
        own_redis.freeze()
        with pytest.raises(BrokerTimeoutError, match="did not answer in time"):
            executor.heartbeat()
        assert len(executor.queued_tasks) == 4
        own_redis.thaw()
        all_end_once(executor, table, workloads)


class TestUnavailable:
    def test_queued_work_survives_until_the_broker_is_there(self, own_redis, table, started):
        own_redis.kill()
        executor = started(own_redis.url, table)
        executor.queue_workload(first := make_workload(table, priority_weight=1))
        executor.queue_workload(second := make_workload(table, priority_weight=1))
        for _ in range(7):
            with pytest.raises(BrokerError):
                executor.heartbeat()
        assert executor.get_event_buffer() == [], "a broker that is down fails no task"
        assert list(executor.queued_tasks) == [first.key, second.key], "and changes no order"
        own_redis.start()
        drive(executor, lambda: not executor.queued_tasks)
        assert own_redis.call("LLEN", "default") == 2

    def test_nobody_is_there(self, table, started):
        executor = started("redis://127.0.0.1:9/0", table)
        with pytest.raises(BrokerError, match=r"redis://127\.0\.0\.1:9/0 cannot be reached: .*refused"):
            executor.heartbeat()
        assert "cannot be reached" in executor.health_check()

    def test_wrong_password_is_told_without_it(self, table, started, caplog):
        """In no error, none of its causes, no log and no dump; the right one neither."""
        caplog.set_level(logging.DEBUG)
        with RedisServer("right/one@home") as server:
            executor = started(server.url.replace("right", "wrong"), table)
            executor.queue_workload(make_workload(table))
            with pytest.raises(BrokerError, match="refuses the user name or password") as raised:
                executor.heartbeat()
            shown = "".join(traceback.format_exception(raised.value))
            shown += (
                f"{executor.debug_dump()} {executor.health_check()} {executor!r} {executor.options!r} {caplog.text}"
            )
            assert "one@home" not in shown
            assert "one%40home" not in shown
            fine = started(server.url, table)
            fine.queue_workload(make_workload(table))
            fine.heartbeat()
            assert server.call("LLEN", "default") == 1

    def test_no_password_where_one_is_needed(self, table, started):
        with RedisServer("right") as server:
            executor = started(f"redis://127.0.0.1:{server.port}/0", table)
            with pytest.raises(BrokerError, match="refuses the user name or password"):
                executor.heartbeat()

    def test_terminate_with_a_dead_broker_returns(self, own_redis, table, started):
        executor = started(own_redis.url, table)
        executor.queue_workload(make_workload(table))
        executor.heartbeat()
        own_redis.kill()
        executor.terminate()
        assert (len(executor.running), len(executor.queued_tasks)) == (0, 0)


@pytest.mark.timed
class TestTimeouts:
    @pytest.mark.parametrize("method", ["heartbeat", "terminate"])
    def test_frozen_redis_holds_a_call_for_operation_timeout_at_most(self, own_redis, table, started, method):
        executor = started(own_redis.url, table)
        executor.queue_workload(make_workload(table))
        executor.heartbeat()
        executor.queue_workload(make_workload(table))
        own_redis.freeze()
        for _ in range(3):
            begun = time.perf_counter()
            if method == "heartbeat":
                with pytest.raises(BrokerTimeoutError):
                    executor.heartbeat()
            else:
                executor.terminate()
            assert time.perf_counter() - begun < 1.0
        own_redis.thaw()

    def test_address_that_swallows_everything(self, table, started):
        """TEST-NET-1 is routed nowhere: a connection is refused by the network at once, or never answered."""
        executor = started("redis://:word@192.0.2.1:6379/0", table)
        begun = time.perf_counter()
        with pytest.raises(BrokerError, match=r"192\.0\.2\.1"):
            executor.heartbeat()
        assert time.perf_counter() - begun < 1.0
