"""Lanes with the scripted executor: sick ones recover, none disturbs another, nothing posted gets lost.

No test measures time: each waits for a condition, and order shows the rest.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from executors.base import BaseExecutor
from executors.events import Failed, Succeeded
from executors.testing import ScriptedExecutor
from executors.workload import TaskInstanceRef
from runtime.scheduler import health
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import CallAnswer
from tests.unit.scheduler.lane_host import DEADLINE, NEVER, Host, make_workload

# -- the healthy lane --------------------------------------------------------------------------------------------------


def test_dispatched_work_is_launched_and_its_end_delivered(host: Host):
    lane, executor = host.ready()
    workload = make_workload()
    lane.dispatch(workload)
    host.wait(lambda: lane.status().running == 1, "running")
    executor.finish(workload.key)
    assert host.events(lane) == [Succeeded(workload.key)]
    host.wait(lambda: lane.status().open_slots == 4, "the slot is free again")


def test_executor_lives_in_its_own_named_daemon_thread(host: Host):
    threads = []
    host.lane("east", create=lambda _: threads.append(threading.current_thread()) or ScriptedExecutor())
    host.wait(lambda: threads, "made")
    assert (threads[0].name, threads[0].daemon) == ("lane-east", True)


def test_dispatches_under_load_share_a_heartbeat_and_keep_their_order(host: Host):
    lane, executor = host.ready(parallelism=0)
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    workloads = [make_workload(f"t{number}") for number in range(50)]
    for workload in workloads:
        lane.dispatch(workload)
        lane.dispatch(workload)
        lane.request_heartbeat()
    executor.calls.clear()
    host.hangs[0].set()
    host.wait(lambda: lane.status().running == 50, "all running")
    launches = [key for method, key in executor.calls if method == "execute_async"]
    assert launches == [workload.key for workload in workloads], "each once, in order"
    assert [method for method, _ in executor.calls].count("heartbeat") == 1, "100 requests, one heartbeat"


def test_work_queued_in_the_executor_starts_as_soon_as_the_event_before_it_is_taken(host: Host):
    lane, executor = host.ready(parallelism=1)
    first, second = make_workload(), make_workload()
    lane.dispatch(first, second)
    host.wait(lambda: (lane.status().running, lane.status().queued) == (1, 1), "one runs, one is queued")
    executor.finish(first.key)
    host.wait(lambda: ("execute_async", second.key) in executor.calls, "no other heartbeat is asked for")


def test_slots_on_their_way_are_counted_at_once(host: Host):
    """The scheduler never sees a slot free that it has just filled, even while the executor is busy."""
    lane, executor = host.ready()
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    first, second = make_workload(), make_workload()
    lane.dispatch(first, second)
    lane.dispatch(first)
    assert (lane.status().open_slots, lane.status().queued) == (2, 2)
    assert lane.revoke(TaskInstanceRef(second.key)) is True
    assert (lane.status().open_slots, lane.status().queued) == (3, 1)


def test_heartbeats_come_by_themselves(host: Host):
    lane, executor = host.ready(heartbeat_sec=0.005)
    executor.calls.clear()
    host.wait(lambda: len(executor.calls) > 10, "heartbeats without a request")
    assert lane.status().health is Health.HEALTHY


def test_executor_without_handles_is_asked_often_only_while_something_runs(host: Host):
    """Two methods make an executor: its slots must not wait for the next heartbeat."""
    lane, executor = host.ready(poll_sec=0.005)
    executor.calls.clear()
    workload = make_workload()
    lane.dispatch(workload)
    host.wait(lambda: len(executor.calls) > 10, "heartbeats without a request")
    executor._finished.append((workload.key, True, None))
    assert host.events(lane) == [Succeeded(workload.key)]
    lane.call("debug_dump", token=1)
    host.events(lane)
    assert lane._next_heartbeat > lane._clock() + NEVER / 2


def test_executors_wake_asks_for_a_heartbeat(host: Host):
    _, executor = host.ready()
    executor.calls.clear()
    executor.context.wake()
    host.wait(lambda: ("sync", None) in executor.calls, "a heartbeat")


class PipeExecutor(ScriptedExecutor):
    """Has a pipe as LocalExecutor has; another one after each message, mostly under the same descriptor number."""

    def start(self):
        self.pipe = os.pipe()
        self.seen = []

    def poll_handles(self):
        return self.pipe[:1]

    def sync(self):
        if not os.get_blocking(self.pipe[0]):
            message = os.read(self.pipe[0], 10)
            self.terminate()
            self.pipe = os.pipe()
            self.seen.append(message)

    def terminate(self):
        for end in self.pipe:
            os.close(end)


def test_readable_handle_causes_a_heartbeat(host: Host):
    _, executor = host.ready(cls=PipeExecutor)
    for count in range(1, 4):
        reader, writer = executor.pipe
        os.set_blocking(reader, False)
        os.write(writer, b"done")
        host.wait(lambda count=count: len(executor.seen) == count, "read by a heartbeat")


def test_closed_handle_is_a_visible_fault_and_no_busy_loop(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    lane = host.lane(script=lambda made: setattr(made, "poll_handles", lambda: [900_000]))
    host.wait(lambda: lane.status().health is Health.DEGRADED, "degraded")
    assert lane.status().reason == "poll_handles() names 900000, which is no open descriptor"


def test_scheduler_is_woken_once_for_many_deliveries(host: Host):
    lane, executor = host.ready(parallelism=0)
    workloads = [make_workload(f"t{number}") for number in range(20)]
    lane.dispatch(*workloads)
    host.wait(lambda: lane.status().running == 20, "running")
    woken = host.wakes
    for workload in workloads:
        executor._finished.append((workload.key, True, None))
    lane.request_heartbeat()
    host.wait(lambda: lane.status().running == 0, "ended")
    assert host.wakes == woken + 1
    assert len(lane.take()) == 20


# -- executors that hang -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["heartbeat", "sync", "execute_async", "start"])
def test_hang_in_one_lane_does_not_delay_another(host: Host, method: str):
    """While one executor is stuck, another runs a hundred attempts one after the other."""
    sick = host.lane("sick", script=lambda made: host.hang(made, method))
    sick.dispatch(make_workload())
    host.wait(lambda: "sick" in host.executors and host.executors["sick"]._hangs[method].entered.is_set(), "stuck")
    lane, executor = host.ready("well")
    executor.instant = True
    for number in range(100):
        workload = make_workload(f"t{number}")
        lane.dispatch(workload)
        assert host.events(lane) == [Succeeded(workload.key)]
    assert host.executors["sick"].calls[-1][0] == method, "the sick one was stuck all the time"
    assert sick.take() == []


def test_stuck_lane_says_in_what_and_for_how_long_and_recovers(host: Host):
    lane, executor = host.ready()
    entered = host.hang(executor, "sync")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    assert lane.status().health is Health.HEALTHY, "not before its deadline"
    host.clock.ahead = 12
    assert (lane.status().health, lane.status().reason) == (Health.UNAVAILABLE, "heartbeat has not returned for 12 s")
    host.hangs[0].set()
    host.wait(lambda: lane.status().health is Health.HEALTHY, "healthy again")


def test_constructor_that_hangs_is_an_unavailable_lane(host: Host):
    entered, released = threading.Event(), threading.Event()
    host.hangs.append(released)

    def create(_: Callable[[], None]) -> BaseExecutor:
        entered.set()
        released.wait(30)
        return ScriptedExecutor(4)

    lane = host.lane(create=create, parallelism=4)
    assert entered.wait(DEADLINE)
    assert (lane.status().health, lane.status().reason) == (Health.UNAVAILABLE, "starting")
    host.clock.ahead = 11
    assert lane.status().reason == "constructor has not returned for 11 s"
    assert lane.status().open_slots == 0
    workload = make_workload()
    lane.dispatch(workload)
    released.set()
    host.wait(lambda: lane.status().running == 1, "what was dispatched meanwhile is launched")


def test_hung_lane_gives_dispatched_work_back(host: Host):
    """What a stuck executor has not been handed can go elsewhere: it never starts here."""
    lane, executor = host.ready()
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    workload = make_workload()
    lane.dispatch(workload)
    assert lane.revoke(TaskInstanceRef(workload.key)) is True
    host.hangs[0].set()
    host.wait(lambda: ("revoke_task", workload.key) in executor.calls, "revoked")
    assert ("execute_async", workload.key) not in executor.calls


def test_stuck_thread_cannot_be_joined(host: Host):
    lane, executor = host.ready()
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    lane.terminate()
    assert lane.join(0.01) is False


# -- executors that raise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["heartbeat", "sync", "execute_async"])
def test_failing_heartbeats_open_the_breaker_and_it_closes_by_itself(host: Host, method: str):
    lane, executor = host.ready()
    executor.raises(method, ConnectionError("the broker\nis gone"), times=4)
    seen = []
    workload = make_workload()
    lane.dispatch(workload)
    host.wait(lambda: seen.append(lane.status()) or executor._errors[method][1] == 0, "four failures")
    host.wait(lambda: lane.status().health is Health.HEALTHY and lane.status().running == 1, "launched after all")
    for status in seen:
        if status.health is not Health.HEALTHY:
            assert status.reason == "heartbeat raised ConnectionError: the broker is gone"


def test_health_goes_from_degraded_to_unavailable(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    monkeypatch.setattr(health, "LONGEST_PAUSE", NEVER)
    lane, executor = host.ready()
    executor.raises("sync")
    seen = []
    for failures in range(1, 5):
        lane.request_heartbeat()
        host.wait(lambda failures=failures: lane._breaker.failures == failures, "one more failure")
        seen.append(lane.status().health)
        host.clock.ahead += NEVER
    assert seen == [Health.DEGRADED, Health.DEGRADED, Health.UNAVAILABLE, Health.UNAVAILABLE]


def test_open_breaker_keeps_work_and_still_revokes_and_answers(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    monkeypatch.setattr(health, "LONGEST_PAUSE", NEVER)
    lane, executor = host.ready()
    running = make_workload()
    lane.dispatch(running)
    host.wait(lambda: lane.status().running == 1, "running")
    executor.raises("sync", times=1)
    lane.request_heartbeat()
    host.wait(lambda: lane.status().health is Health.DEGRADED, "degraded")
    waiting, dropped = make_workload(), make_workload()
    executor.calls.clear()
    lane.dispatch(waiting, dropped)
    lane.request_heartbeat()
    lane.revoke(TaskInstanceRef(running.key))
    assert lane.revoke(TaskInstanceRef(dropped.key)) is True
    lane.call("debug_dump", token="dump")
    answer = host.events(lane)[0]
    assert isinstance(answer, CallAnswer)
    assert "0 of 4 slots occupied" in answer.value
    assert [method for method, _ in executor.calls] == ["revoke_task", "revoke_task"], "no heartbeat in the pause"
    assert lane.status().queued == 1
    assert not executor.queued_tasks, "what waits for the breaker can still be taken back"
    host.clock.ahead = NEVER
    lane.request_heartbeat()
    host.wait(lambda: lane.status().running == 1, "launched after the pause")
    assert executor.calls[-2][0] == "execute_async"
    assert {key for method, key in executor.calls if method == "execute_async"} == {waiting.key}


def test_events_are_taken_also_after_a_heartbeat_that_raised(host: Host):
    lane, executor = host.ready()
    executor.instant = True
    executor.raises("sync")
    workload = make_workload()
    lane.dispatch(workload)
    assert host.events(lane) == [Succeeded(workload.key)]


def test_pauses_double_up_to_the_longest():
    breaker, pauses = health.Breaker(), []
    for _ in range(2000):
        breaker.fail("x", 100.0)
        pauses.append(breaker.retry_at - 100.0)
    assert pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert pauses[-1] == 30.0
    breaker.succeed()
    breaker.fail("x", 100.0)
    assert breaker.retry_at == 100.5


@pytest.mark.parametrize("error", [ValueError("no\nbroker"), SystemExit(3)], ids=["error", "exit"])
def test_constructor_that_raises_is_tried_again(host: Host, error: BaseException, caplog: pytest.LogCaptureFixture):
    failures = [error, error]

    def create(_: Callable[[], None]) -> BaseExecutor:
        if failures:
            raise failures.pop()
        return ScriptedExecutor(4)

    lane = host.lane(create=create)
    lane.dispatch(make_workload())
    host.wait(lambda: lane.status().running == 1, "made at last")
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told == [f"executor one: constructor raised {type(error).__name__}: {' '.join(str(error).split())}"]


def test_constructor_that_always_raises_shows_its_reason(host: Host):
    def create(_: Callable[[], None]) -> BaseExecutor:
        raise ValueError("no broker")

    lane = host.lane(create=create, parallelism=4)
    status = host.wait(lambda: lane.status() if lane.status().reason != "starting" else None, "a reason")
    assert (status.health, status.reason, status.open_slots) == (
        Health.UNAVAILABLE, "constructor raised ValueError: no broker", 0,
    )  # fmt: skip


def test_start_that_raises_is_tried_again_on_the_same_executor(host: Host):
    lane = host.lane(script=lambda made: made.raises("start", times=2))
    host.wait(lambda: lane.status().health is Health.HEALTHY, "started")
    assert [method for method, _ in host.executors["one"].calls][:4] == ["constructor", "start", "start", "start"]


def test_work_that_the_executor_refuses_fails_alone(host: Host):
    lane, executor = host.ready()
    bad, good = make_workload("bad"), make_workload("good")
    accept = executor.queue_workload

    def queue_workload(workload: Any) -> None:
        if workload is bad:
            raise TypeError("what is this")
        accept(workload)

    executor.queue_workload = queue_workload
    lane.dispatch(bad, good)
    assert host.events(lane) == [Failed(bad.key, "queue_workload raised TypeError: what is this", refused=True)]
    host.wait(lambda: lane.status().running == 1, "the other is launched")


def test_rubbish_in_the_event_buffer_is_dropped_with_one_line(host: Host, caplog: pytest.LogCaptureFixture):
    lane, executor = host.ready()
    key = make_workload().key
    found = [{key: ("success", None)}, Succeeded(key), None, Succeeded("no key")]
    executor.get_event_buffer = lambda: [found.pop() for _ in list(found)]
    lane.request_heartbeat()
    assert host.events(lane) == [Succeeded(key)]
    assert [record.getMessage() for record in caplog.records] == [
        "executor one: 3 entries of its event buffer are no events: NoneType, Succeeded, dict"
    ]


def test_broken_buffers_and_properties_are_failures_like_others(host: Host):
    class Broken(ScriptedExecutor):
        @property
        def slots_available(self) -> int:
            raise LookupError("which slots")

    lane = host.lane(cls=Broken)
    host.wait(lambda: lane.status().health is Health.UNAVAILABLE and "which slots" in lane.status().reason, "shown")


# -- questions ---------------------------------------------------------------------------------------------------------


def test_call_is_answered_with_value_or_error(host: Host):
    lane, _ = host.ready()
    strangers = [TaskInstanceRef(make_workload().key)]
    lane.call("try_adopt_task_instances", strangers, token=("adopt", 1))
    assert host.events(lane) == [CallAnswer(("adopt", 1), strangers, None)]
    lane.call("no_such_method", token=2)
    assert host.events(lane) == [
        CallAnswer(
            2, None, "no_such_method raised AttributeError: 'ScriptedExecutor' object has no attribute 'no_such_method'"
        )
    ]


def test_late_answer_is_dropped(host: Host):
    """The scheduler hears once that there is no answer in time, and never of the answer that comes later."""
    lane, executor = host.ready()
    entered = host.hang(executor, "try_adopt_task_instances")
    lane.call("try_adopt_task_instances", [], token="late")
    assert entered.wait(DEADLINE)
    assert lane.take() == []
    host.clock.ahead = 11
    assert lane.take() == [
        CallAnswer("late", None, "no answer to try_adopt_task_instances in time: "
                   "try_adopt_task_instances has not returned for 11 s")
    ]  # fmt: skip
    host.hangs[0].set()
    lane.call("debug_dump", token="next")
    assert [answer.token for answer in host.events(lane)] == ["next"]


def test_question_that_is_overdue_before_its_turn_is_never_put(host: Host):
    lane, executor = host.ready()
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    lane.call("try_adopt_task_instances", [], token=1, deadline=2.0)
    host.clock.ahead = 3
    host.hangs[0].set()
    (answer,) = host.events(lane)
    lane.call("debug_dump", token=2)
    host.events(lane)
    assert isinstance(answer, CallAnswer)
    assert answer.error is not None
    assert answer.error.startswith("no answer to try_adopt_task_instances in time: ")
    assert ("try_adopt_task_instances", None) not in executor.calls


def test_questions_wait_for_an_executor_that_is_not_made_yet(host: Host):
    lane = host.lane(script=lambda made: made.raises("start", times=2))
    lane.call("debug_dump", token=1)
    assert [answer.token for answer in host.events(lane)] == [1]


# -- the end -----------------------------------------------------------------------------------------------------------


def test_end_drains_then_closes(host: Host):
    """Events are delivered while the lane drains; nothing new is taken."""
    lane, executor = host.ready(parallelism=1)
    first, second, refused = make_workload(), make_workload(), make_workload()
    lane.dispatch(first, second)
    host.wait(lambda: (lane.status().running, lane.status().queued) == (1, 1), "running and queued")
    lane.end(NEVER)
    lane.dispatch(refused)
    assert lane.status().health is Health.DRAINING
    executor.finish(first.key)
    assert host.events(lane) == [Succeeded(first.key)]
    host.wait(lambda: ("execute_async", second.key) in executor.calls, "the queued one gets the slot")
    executor.finish(second.key)
    assert lane.join(DEADLINE)
    assert lane.take() == [Succeeded(second.key)]
    assert [method for method, _ in executor.calls].count("end") == 1
    assert not {("terminate", None), ("execute_async", refused.key)} & set(executor.calls)
    assert (lane.status().health, lane.status().reason) == (Health.UNAVAILABLE, "ended")


def test_end_that_takes_too_long_terminates(host: Host):
    lane, executor = host.ready()
    lane.dispatch(make_workload())
    host.wait(lambda: lane.status().running == 1, "running")
    lane.end(0.0)
    assert lane.join(DEADLINE)
    assert executor.calls[-1] == ("terminate", None)


def test_last_events_of_terminate_are_delivered(host: Host):
    class Killer(ScriptedExecutor):
        def terminate(self) -> None:
            for key in list(self.running):
                self.lost(key, "killed")

    lane, _ = host.ready(cls=Killer)
    workload = make_workload()
    lane.dispatch(workload)
    host.wait(lambda: lane.status().running == 1, "running")
    lane.terminate()
    assert lane.join(DEADLINE)
    assert [event.key for event in lane.take()] == [workload.key]


def test_detach_leaves_what_runs_alone(host: Host):
    lane, executor = host.ready()
    lane.dispatch(make_workload())
    host.wait(lambda: lane.status().running == 1, "running")
    executor.calls.clear()
    lane.detach()
    assert lane.join(DEADLINE)
    assert not {"end", "terminate"} & {method for method, _ in executor.calls}


@pytest.mark.parametrize("method", ["end", "terminate"])
def test_goodbye_that_raises_ends_the_thread_all_the_same(host: Host, method: str):
    lane, executor = host.ready()
    executor.raises(method)
    getattr(lane, method)(*([NEVER] if method == "end" else []))
    assert lane.join(DEADLINE)
    assert lane.status().reason == "ended"


def test_posting_to_an_ended_lane_is_harmless(host: Host):
    lane, _ = host.ready()
    lane.terminate()
    assert lane.join(DEADLINE)
    lane.request_heartbeat()
    lane.dispatch(make_workload())
    lane.revoke(TaskInstanceRef(make_workload().key))
    lane.call("debug_dump", token=1)
    host.clock.ahead = 11
    assert lane.take() == [CallAnswer(1, None, "no answer to debug_dump in time: ended")]


def test_thread_that_dies_says_so(host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    lane, _ = host.ready()
    monkeypatch.setattr(lane, "_obey", None)
    lane.request_heartbeat()
    assert lane.join(DEADLINE)
    assert lane.status().reason == "the lane's thread has died; restart the scheduler"
    assert caplog.records[-1].levelno == logging.CRITICAL
