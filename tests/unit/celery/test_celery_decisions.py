"""What is repeated, what the result backend is believed, and what an operator is told: decided without a broker."""

from __future__ import annotations

import fakeredis
import pytest

from executors.celery import broker
from executors.celery.asking import count_workers
from executors.celery.broker import PAGE, QueueLook
from executors.celery.deliveries import LONGEST_PAUSE, Deliveries
from executors.celery.errors import BrokerError, BrokerTimeoutError, translated
from executors.celery.executor import CeleryExecutor
from executors.celery.health import complaint
from executors.celery.messages import attempt_of
from executors.celery.options import Endpoint, read_options
from executors.celery.publishing import Budget, Publisher
from executors.celery.reconciling import PAGE as RESULTS
from executors.celery.reconciling import Reconciler
from executors.celery.results import Outcome, _parse
from executors.context import ExecutorContext
from executors.events import Failed, Succeeded
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload


def key(name: str) -> TaskInstanceKey:
    return TaskInstanceKey("dag", name, "run", attempt_id=name)


class TestDeliveries:
    def test_each_repetition_doubles_the_pause(self):
        """60 s, 120 s, 240 s, … and never more than a quarter of an hour."""
        deliveries, now, pauses = Deliveries(60), 0.0, []
        for _ in range(7):
            deliveries.sent(key("a"), "q", now)
            (due,) = deliveries.due(1e9)
            pauses.append(due.due - now)
            now = due.due
        assert pauses == [60, 120, 240, 480, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]

    def test_message_that_waits_is_looked_for_later_and_not_slower(self):
        deliveries = Deliveries(60)
        deliveries.sent(key("a"), "q", 0)
        assert not deliveries.due(59)
        deliveries.seen([key("a"), key("unknown")], 60)
        assert not deliveries.due(119)
        assert [delivery.sends for delivery in deliveries.due(120)] == [1]

    def test_what_was_taken_is_forgotten(self):
        deliveries = Deliveries(60)
        for name in ("a", "b"):
            deliveries.sent(key(name), "q", 0)
        deliveries.taken(key("a"))
        deliveries.taken(key("a"))
        assert (deliveries.all(), deliveries.queues()) == ([key("b")], {"q": 1})


class TestReconciling:
    def judge(self, *outcomes: tuple[str, float], interval: float = 5.0):
        """What the verdicts on one attempt are, look after look."""
        reconciler, found = Reconciler(interval), []
        for state, now in outcomes:
            verdicts = reconciler.read(lambda ids, state=state: {ids[0]: Outcome(state, "why")}, [key("a")], now)
            found.append((bool(verdicts.taken), [why for _, why in verdicts.failed], [why for _, why in verdicts.lost]))
        return found

    def test_failure_is_believed_at_the_second_look(self):
        assert self.judge(("FAILURE", 0), ("FAILURE", 5)) == [(False, [], []), (False, ["why"], [])]

    def test_success_is_a_loss_at_the_second_look(self):
        lost = ["its Celery task ended without a report"]
        assert self.judge(("SUCCESS", 0), ("SUCCESS", 5)) == [(False, [], []), (False, [], lost)]

    def test_started_is_no_end(self):
        assert self.judge(("STARTED", 0), ("STARTED", 5)) == [(True, [], [])] * 2

    @pytest.mark.parametrize("state", ["PENDING", "RETRY", "RECEIVED", "nonsense"])
    def test_what_is_unknown_stays_unknown(self, state):
        assert self.judge((state, 0), (state, 50)) == [(False, [], [])] * 2

    def test_a_round_has_pages_and_then_a_pause(self):
        reconciler = Reconciler(5.0)
        running = [key(str(number)) for number in range(RESULTS + 1)]
        pages = [len(reconciler.page(running, now)) for now in (10, 11, 12, 16)]
        assert pages == [RESULTS, 1, 0, RESULTS]

    def test_trouble_slows_the_looks_down(self):
        reconciler = Reconciler(5.0)
        for now, pause in ((0, 10), (10, 20), (30, 40)):
            assert reconciler.page([key("a")], now)
            reconciler.failed("why", now)
            assert not reconciler.page([key("a")], now + pause - 1)

    @pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"status": 3}', b"\x80\x05pickle"])
    def test_rubbish_tells_nothing(self, raw):
        assert _parse(raw) is None

    def test_reason_of_a_failure(self):
        raw = b'{"status": "FAILURE", "result": {"exc_type": "OSError", "exc_message": ["no", "disk"]}}'
        assert _parse(raw) == Outcome("FAILURE", "OSError: no, disk")


class TestLook:
    @pytest.mark.parametrize("position", [0, PAGE - 1, PAGE, 2 * PAGE + 5])
    def test_finds_a_message_on_any_page(self, monkeypatch, position):
        client = fakeredis.FakeRedis()
        monkeypatch.setattr(broker, "_redis", lambda _: client)
        monkeypatch.setattr(broker, "_key_prefix", lambda _: "mine")
        for number in reversed(range(2 * PAGE + 10)):
            client.lpush("mineq", f'{{"properties": {{"correlation_id": "{number}"}}}}')
        deliveries = Deliveries(0.0)
        for name in (str(position), "gone"):
            deliveries.sent(key(name), "q", 0)
        look, steps = QueueLook(deliveries.due(1)), 0
        while not look.is_done:
            look.step(None)
            steps += 1
        assert ([delivery.key for delivery in look.found], list(look.wanted)) == ([key(str(position))], ["gone"])
        assert steps == 3

    @pytest.mark.parametrize("raw", [b"", b"{}", b'"correlation_id": 3', b'{"correlation_id": "' + b"x" * 500])
    def test_foreign_messages_are_nobodys(self, raw):
        assert attempt_of(raw) is None


class TestOtherBrokers:
    """Those whose messages cannot be looked at, by kombu's broker in memory."""

    @pytest.fixture
    def executor(self):
        options = {"broker_url": "memory://none", "stuck_after": "0.1"}
        made = CeleryExecutor(0, context=ExecutorContext(name="memory", options=options))
        made.start()
        yield made
        made.terminate()

    def beat(self, executor):
        executor.heartbeat()
        for delivery in executor.deliveries.due(1e12):
            delivery.due = 0.0

    def length(self, executor):
        return executor._publisher.perform("look", lambda p: broker._length(p, "memory.default"), Budget(1))

    def test_repeats_where_the_queue_is_empty(self, executor):
        env = {"HYBRID_START_TICKET": "ticket"}
        executor.queue_workload(Workload(key("a"), (), CodeReference("", ""), env=env))
        self.beat(executor)
        assert self.length(executor) == 1
        self.beat(executor)
        assert (self.length(executor), executor._repeats) == (1, 0)
        executor._publisher.perform("purge", lambda p: p.channel.queue_purge("memory.default"), Budget(1))
        self.beat(executor)
        self.beat(executor)
        assert (self.length(executor), executor._repeats) == (1, 1)

    def test_queue_that_is_gone_is_empty(self, executor):
        executor.heartbeat()
        assert executor._publisher.perform("look", lambda p: broker._length(p, "never"), Budget(1)) == 0


class TestErrors:
    END = Endpoint.parse("redis://:word@host:1/0")

    def translate(self, error: Exception) -> BrokerError:
        with pytest.raises(BrokerError) as raised, translated("publish", self.END):
            raise error
        return raised.value

    def test_timeouts_are_told_apart(self):
        import redis

        for error in (TimeoutError("slow"), redis.TimeoutError("slow")):
            assert isinstance(self.translate(error), BrokerTimeoutError)

    def test_kombus_wrappers_are_taken_off(self):
        from kombu.exceptions import OperationalError

        wrapped = OperationalError("wrapped")
        wrapped.__cause__ = ConnectionRefusedError(111, "Connection refused")
        told = str(self.translate(wrapped))
        assert told == "publish: redis://host:1/0 cannot be reached: [Errno 111] Connection refused"

    def test_cause_with_the_password_is_not_chained(self):
        assert isinstance(self.translate(ValueError("fine")).__cause__, ValueError)
        made = self.translate(ValueError("bad word in redis://:word@host:1/0"))
        assert made.__cause__ is None
        assert "word" not in str(made)


class TestAdoption:
    @pytest.fixture
    def executor(self):
        return CeleryExecutor(2)

    def test_started_ones_take_a_slot_until_they_report(self, executor):
        ref = TaskInstanceRef(key("a"), queue="gpu", external_executor_id="a", started=True)
        for _ in range(2):
            assert list(executor.try_adopt_task_instances([ref])) == []
        assert (executor.slots_occupied, executor.slots_available) == (1, 1)
        executor.reported(ref.key)
        assert executor.get_event_buffer() == [Succeeded(ref.key)]
        assert executor.slots_occupied == 0

    @pytest.mark.parametrize("fields", [{"started": False}, {"started": True, "external_executor_id": "other"}])
    def test_others_are_returned(self, executor, fields):
        ref = TaskInstanceRef(key("a"), **fields)
        assert list(executor.try_adopt_task_instances([ref])) == [ref]
        assert executor.slots_occupied == 0

    def test_report_of_an_unknown_attempt_is_nothing(self, executor):
        executor.reported(key("a"))
        executor.started(key("a"))
        assert (executor.get_event_buffer(), executor.slots_occupied) == ([], 0)

    def test_report_frees_what_went_back_to_the_queue(self, executor):
        """Its publish seemed to fail, and did not."""
        executor.queue_workload(Workload(key("a"), (), CodeReference("", "")))
        executor.started(key("a"))
        assert (len(executor.queued_tasks), len(executor.running)) == (0, 1)
        executor.reported(key("a"))
        assert executor.get_event_buffer() == [Succeeded(key("a"))]

    def test_launch_without_a_ticket_is_refused(self, executor):
        executor.queue_workload(Workload(key("a"), (), CodeReference("", "")))
        executor.trigger_tasks(1)
        assert [(type(event), event.refused) for event in executor.get_event_buffer()] == [(Failed, True)]


class TestHealth:
    OPTIONS = read_options({}, "")

    def test_workers_are_counted_by_queue(self):
        one = {"celery@a": [{"name": "default"}, {"name": "gpu"}]}
        answers = [one, {"celery@b": [{"name": "default"}]}, {"celery@c": {"error": "x"}}, {"celery@d": [None]}]
        assert count_workers(answers) == {"default": 2, "gpu": 1}

    @pytest.mark.parametrize(
        ("workers", "waiting", "results", "told"),
        [
            ({"default": 1}, {"default": 3}, "", None),
            (None, {"default": 3}, "", None),
            ({}, {}, "", "no Celery worker answers"),
            ({"default": 1}, {"gpu": 2}, "", "no worker reads queue gpu, where 2 attempts wait"),
            ({"default": 1}, {}, "results: down", "results: down"),
        ],
    )
    def test_complaints(self, workers, waiting, results, told):
        assert complaint(self.OPTIONS, workers, waiting, results) == told

    def test_open_broker_is_told_once(self):
        told = complaint(read_options({"broker_url": "redis://far/0"}, ""), {"default": 1}, {}, "")
        assert told is not None
        assert told.count("has no password") == 1


def test_budget_lets_nothing_begin_in_its_second_half():
    now = [0.0]
    budget = Budget(1.0, clock=lambda: now[0])
    assert budget.left == 0.5
    now[0] = 0.6
    with pytest.raises(BrokerTimeoutError, match="took too long"):
        Publisher(None, read_options({}, ""), "test").perform("publish", lambda _: None, budget)
