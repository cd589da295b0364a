"""What CeleryExecutor puts into a real Redis, and what it makes of what is there."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from celery_host import drive, make_executor, make_workload, starts, wait_until, worker

from executors.celery.app import make_app
from executors.celery.executor import CeleryExecutor
from executors.events import Failed, Lost, Succeeded
from executors.workload import TaskInstanceRef
from tests.redis_server import RedisServer

CELERYS_OWN = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
"""Celery 5.7 with redis 8.1, where a result is written."""


@pytest.fixture
def server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """Empty before and after."""
    shared_redis.flush()
    yield shared_redis
    shared_redis.flush()


def messages(server: RedisServer, queue: str = "default") -> list[dict]:
    """Oldest first."""
    return [json.loads(raw) for raw in reversed(server.call("LRANGE", queue, 0, -1))]


def ids(server: RedisServer, queue: str = "default") -> list[str]:
    return [message["headers"]["id"] for message in messages(server, queue)]


class TestMessages:
    def test_holds_the_attempt_and_its_ticket_and_nothing_else(self, server, table, started):
        """Protocol 2, JSON; the Celery task's id is the attempt's, and the ticket is in the arguments only."""
        executor = started(server.url, table)
        workload = make_workload(
            table, "secret-command", env={"HYBRID_START_TICKET": "the-ticket", "OTHER": "other-env"}
        )
        executor.queue_workload(workload)
        executor.heartbeat()
        (message,) = messages(server)
        attempt = workload.key.attempt_id
        args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
        assert (args, kwargs, set(embedded.values())) == ([attempt, "the-ticket"], {}, {None})
        assert (message["content-type"], message["headers"]["task"]) == ("application/json", "hybrid.run")
        assert message["headers"]["id"] == message["properties"]["correlation_id"] == attempt
        rest = json.dumps({**message, "body": ""})
        assert not any(word in rest for word in ("the-ticket", "other-env", "secret-command", "dag"))

    def test_thousand_attempts_are_published_once_each_in_order(self, server, table, started):
        executor = started(server.url, table)
        workloads = [make_workload(table) for _ in range(1000)]
        for workload in workloads:
            executor.queue_workload(workload)
        drive(executor, lambda: not executor.queued_tasks and not executor._outbox)
        assert ids(server) == [workload.key.attempt_id for workload in workloads]

    def test_no_more_than_the_slots_are_published(self, server, table, started):
        executor = started(server.url, table, 2)
        for _ in range(5):
            executor.queue_workload(make_workload(table))
        executor.heartbeat()
        assert (len(ids(server)), len(executor.queued_tasks)) == (2, 3)

    def test_queue_of_the_task_is_the_queue_of_the_message(self, server, table, started):
        executor = started(server.url, table)
        executor.queue_workload(workload := make_workload(table, queue="gpu"))
        executor.heartbeat()
        assert ids(server, "gpu") == [workload.key.attempt_id]

    @pytest.mark.parametrize(
        ("fields", "reason"), [({"queue": "q" * 300}, "255"), ({"env": {}}, "HYBRID_START_TICKET")]
    )
    def test_what_no_worker_could_start_is_refused_at_once(self, server, table, started, fields, reason):
        executor = started(server.url, table)
        executor.queue_workload(make_workload(table, **fields))
        executor.queue_workload(good := make_workload(table))
        executor.heartbeat()
        (event,) = executor.get_event_buffer()
        assert isinstance(event, Failed)
        assert event.refused
        assert reason in event.reason
        assert ids(server) == [good.key.attempt_id]

    def test_celery_itself_reads_the_message(self, server, table, started):
        """By a worker of its own, from the message to the report."""
        executor = started(server.url, table)
        with worker({"broker_url": server.url}, table):
            executor.queue_workload(workload := make_workload(table))
            events = drive(executor, lambda: not executor.running)
        assert events == [Succeeded(workload.key)]
        assert executor.slots_occupied == 0


class TestTransports:
    def test_unix_socket(self, server, table, started):
        executor = started(server.socket_url, table)
        executor.queue_workload(workload := make_workload(table))
        executor.heartbeat()
        assert ids(server) == [workload.key.attempt_id]
        assert executor.health_check() == "no Celery worker answers"

    def test_global_keyprefix_is_before_every_key(self, server, table, started):
        """Also of what is looked for: a message that is there is found."""
        prefix = {"broker_transport_options.global_keyprefix": "mine:"}
        executor = started(server.url, table, stuck_after="0.1", result_backend="none", **prefix)
        executor.queue_workload(workload := make_workload(table))
        executor.heartbeat()
        assert {key.partition(":")[0] for key in server.call("KEYS", "*")} == {"mine"}
        (delivery,) = executor.deliveries.due(1e12)
        first = delivery.due
        drive(executor, lambda: delivery.due > first)
        assert (ids(server, "mine:default"), executor._repeats) == ([workload.key.attempt_id], 0)


class TestInstances:
    def test_two_servers_never_see_each_others_work(self, server, own_redis, table, started):
        """One process, two applications: no pool and no setting of Celery is shared between them."""
        west, east = started(server.url, table, name="west"), started(own_redis.url, table, name="east")
        for executor, task in ((west, "w"), (east, "e"), (west, "w")):
            executor.queue_workload(make_workload(table, task_id=task))
            executor.heartbeat()
        assert (len(ids(server, "west.default")), len(ids(own_redis, "east.default"))) == (2, 1)
        assert not server.call("KEYS", "east*")
        assert not own_redis.call("KEYS", "west*")

    def test_two_aliases_on_one_server_have_queues_and_workers_of_their_own(self, server, tmp_path, started):
        """Each with one worker; a message for the other would be seen in the wrong journal."""
        options = {"broker_url": server.url}
        tables = {name: tmp_path / name for name in ("west", "east")}
        with worker(options, tables["west"], "west", 1), worker(options, tables["east"], "east", 1):
            executors = {name: started(server.url, folder, name=name) for name, folder in tables.items()}
            wanted = {name: [make_workload(tables[name]) for _ in range(3)] for name in tables}
            for name, executor in executors.items():
                for workload in wanted[name]:
                    executor.queue_workload(workload)
                executor.heartbeat()
            for name, executor in executors.items():
                drive(executor, lambda executor=executor: not executor.running)
                assert sorted(starts(tables[name])) == sorted(workload.key.attempt_id for workload in wanted[name])

    def test_workers_answer_their_own_instance_only(self, server, tmp_path, started):
        with worker({"broker_url": server.url}, tmp_path / "west", "west", 1):
            west, east = (started(server.url, tmp_path / name, name=name) for name in ("west", "east"))
            assert west.health_check() is None
            assert east.health_check() == "no Celery worker answers"


class TestHealth:
    def test_queue_that_nobody_reads_is_named(self, server, table, started):
        executor = started(server.url, table)
        with worker({"broker_url": server.url}, table, concurrency=1):
            executor.queue_workload(make_workload(table, queue="gpu"))
            executor.heartbeat()
            assert executor.health_check() == "no worker reads queue gpu, where 1 attempts wait"

    def test_not_started_says_so(self, server, table):
        assert make_executor(server.url, table).health_check() == "not started"

    def test_dump_shows_where_messages_are(self, server, table, started):
        executor = started(server.url, table)
        executor.queue_workload(make_workload(table, queue="gpu"))
        executor.heartbeat()
        dump = executor.debug_dump()
        assert "queue    gpu: 1 sent" in dump
        assert "connected" in dump


@CELERYS_OWN
class TestResults:
    """The result backend betrays attempts that never report."""

    @pytest.fixture(params=["redis", "sqlite"])
    def backend(self, request, server, tmp_path) -> str:
        return server.url if request.param == "redis" else f"db+sqlite:///{tmp_path / 'results.db'}"

    @pytest.fixture
    def executor(self, server, backend, table, started) -> CeleryExecutor:
        executor = started(server.url, table, result_backend=backend, result_interval="0.02")
        executor.queue_workload(make_workload(table))
        executor.heartbeat()
        return executor

    def note(self, executor, backend, state, result):
        """What a worker leaves there."""
        app = make_app({**executor.context.options, "result_backend": backend}, "CeleryExecutor")
        (key,) = executor.running
        app.backend.store_result(key.attempt_id, result, state)
        return key

    def test_failure_has_its_reason(self, executor, backend):
        key = self.note(executor, backend, "FAILURE", RuntimeError("exit code 3"))
        assert drive(executor, lambda: not executor.running) == [Failed(key, "RuntimeError: exit code 3")]

    def test_success_is_not_believed(self, executor, backend):
        """It is a loss, and only when no report has come for a while."""
        key = self.note(executor, backend, "SUCCESS", None)
        assert drive(executor, lambda: not executor.running) == [Lost(key, "its Celery task ended without a report")]

    def test_revocation_by_somebody_else_is_a_loss(self, executor, backend):
        key = self.note(executor, backend, "REVOKED", RuntimeError("terminated"))
        (event,) = drive(executor, lambda: not executor.running)
        assert isinstance(event, Lost)
        assert event.key == key

    def test_start_ends_the_watch_over_the_message(self, executor, backend):
        self.note(executor, backend, "STARTED", None)
        assert drive(executor, lambda: not len(executor.deliveries)) == []
        assert len(executor.running) == 1

    def test_report_comes_first(self, executor, backend):
        """What the backend says afterwards is nobody's business."""
        key = self.note(executor, backend, "SUCCESS", None)
        executor.reported(key)
        executor.heartbeat()
        assert executor.get_event_buffer() == [Succeeded(key)]
        assert executor.slots_occupied == 0


def test_result_backend_that_is_down_stops_nothing(server, table, started):
    """It is told by the health check, and attempts end by their reports."""
    executor = started(server.url, table, result_backend="redis://:hidden@127.0.0.1:9/0", result_interval="0.01")
    executor.queue_workload(workload := make_workload(table))
    drive(executor, lambda: executor._reconciler.trouble)
    assert ids(server) == [workload.key.attempt_id]
    told = executor.health_check()
    assert "redis://127.0.0.1:9/0 cannot be reached" in told
    assert "hidden" not in told
    executor.reported(workload.key)
    assert executor.slots_occupied == 1  # until the event is taken
    assert executor.get_event_buffer() == [Succeeded(workload.key)]


class TestRepeating:
    def test_message_that_is_gone_is_sent_again_with_the_same_id(self, server, table, started):
        """Not those that wait in their queue, however long."""
        executor = started(server.url, table, stuck_after="0.1")
        workloads = {queue: make_workload(table, queue=queue) for queue in ("gone", "kept")}
        for workload in workloads.values():
            executor.queue_workload(workload)
        executor.heartbeat()
        server.call("DEL", "gone")
        drive(executor, lambda: ids(server, "gone") == [workloads["gone"].key.attempt_id])
        assert len(ids(server, "kept")) == 1
        assert executor._repeats == 1

    def test_started_attempt_is_not_repeated(self, server, table, started):
        executor = started(server.url, table, stuck_after="0.1")
        executor.queue_workload(workload := make_workload(table))
        executor.queue_workload(other := make_workload(table))
        executor.heartbeat()
        executor.started(workload.key)
        server.call("DEL", "default")
        drive(executor, lambda: ids(server))
        assert set(ids(server)) == {other.key.attempt_id}

    def test_long_queue_is_read_in_pages(self, server, table, started):
        executor = started(server.url, table, stuck_after="0.1")
        for _ in range(500):
            executor.queue_workload(make_workload(table))
        drive(executor, lambda: not executor.queued_tasks and not executor._outbox)
        server.call("LPOP", "default")
        server.call("RPOP", "default")
        drive(executor, lambda: len(set(ids(server))) == 500)
        assert executor._repeats >= 2
        assert len(ids(server)) - 498 == executor._repeats

    def test_handed_over_again_after_adoption_is_published_again(self, server, table, started):
        """One that never started is returned; its second message has the same id."""
        first, heir = started(server.url, table), started(server.url, table)
        first.queue_workload(workload := make_workload(table))
        first.heartbeat()
        ref = TaskInstanceRef(workload.key)
        assert list(heir.try_adopt_task_instances([ref])) == [ref]
        heir.queue_workload(workload)
        heir.heartbeat()
        assert ids(server) == [workload.key.attempt_id] * 2


class TestRevoking:
    def test_published_attempt_never_starts(self, server, table, started):
        """It waits behind one that runs; its worker is told before its turn comes."""
        executor = started(server.url, table)
        with worker({"broker_url": server.url}, table, concurrency=1):
            gate = table / "go"
            running = make_workload(table, "sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.01; done")
            revoked = make_workload(table)
            executor.queue_workload(running)
            drive(executor, lambda: starts(table))
            executor.queue_workload(revoked)
            executor.heartbeat()
            CeleryExecutor.revoke_task(executor, TaskInstanceRef(revoked.key))
            executor.heartbeat()
            gate.touch()
            drive(executor, lambda: not executor.running)
            wait_until(lambda: not server.call("LLEN", "default") and not server.call("HLEN", "unacked"))
        assert starts(table) == [running.key.attempt_id]

    def test_revoke_while_the_broker_is_down_is_told_later(self, own_redis, table, started):
        executor = started(own_redis.url, table)
        executor.queue_workload(workload := make_workload(table))
        executor.heartbeat()
        own_redis.kill()
        executor.revoke_task(TaskInstanceRef(workload.key))
        assert executor.slots_occupied == 0
        own_redis.start()
        drive(executor, lambda: not executor._revokes)


@CELERYS_OWN
@pytest.mark.timed
class TestFigures:
    def test_32_publishes_within_40_ms(self, server, table, started):
        executor = started(server.url, table, cls=CeleryExecutor)
        executor.heartbeat()
        taken = []
        for _ in range(5):
            for _ in range(32):
                executor.queue_workload(make_workload(table))
            begun = time.perf_counter()
            executor.heartbeat()
            taken.append(time.perf_counter() - begun)
        assert sorted(taken)[2] < 0.040

    def test_heartbeat_with_5000_running_within_50_ms(self, server, table, started):
        """While results are read, half of them say STARTED, and each message is looked for."""
        executor = started(server.url, table, cls=CeleryExecutor, stuck_after="0.1", result_interval="0.01")
        for _ in range(5000):
            executor.queue_workload(make_workload(table))
        drive(executor, lambda: not executor.queued_tasks and not executor._outbox)
        app = make_app(executor.context.options, "CeleryExecutor")
        for key in list(executor.running)[:2500]:
            app.backend.store_result(key.attempt_id, {"pid": 1, "hostname": "celery@test"}, "STARTED")
        taken = []
        for _ in range(40):
            begun = time.perf_counter()
            executor.heartbeat()
            taken.append(time.perf_counter() - begun)
        assert len(executor.running) == 5000
        assert max(taken) < 0.050
