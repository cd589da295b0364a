"""Executors that say rubbish: the lane shows the fault and lives on; the scheduler gets what it can rely on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executors.callbacks import CallbackRequest
from executors.errors import ExecutorError
from executors.events import Accepted, Failed, Lost, Pending, Running, Succeeded
from executors.testing import ScriptedExecutor
from executors.workload import TaskInstanceKey, TaskInstanceRef
from runtime.scheduler import containment, health
from runtime.scheduler.health import Health
from runtime.scheduler.lanes import Lane
from runtime.scheduler.mailbox import CallAnswer, CallbackSent
from tests.unit.scheduler.lane_host import DEADLINE, NEVER, Host, make_workload


class UnspeakableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise SystemExit("not even that")


class Property:
    """Something that raises whatever is done to it."""

    def __get__(self, *_: object) -> object:
        raise KeyboardInterrupt


def break_it(host: Host, lane: Lane, change: Callable[[ScriptedExecutor], object]) -> None:
    """Change the executor between two turns of its lane, then have it turn."""
    change(host.executors[lane.name])
    lane.request_heartbeat()


def sick(lane: Lane) -> Callable[[], str]:
    return lambda: lane.status().reason if lane.status().health is not Health.HEALTHY else ""


SLOTS = {
    "text": ("four", "slots_available is 'four', not a whole number"),
    "none": (None, "slots_available is None, not a whole number"),
    "fraction": (0.5, "slots_available is 0.5, not a whole number"),
    "yes": (True, "slots_available is True, not a whole number"),
    "endless text": ("x" * 10_000_000, f"slots_available is '{'x' * 78}…, not a whole number"),
}


@pytest.mark.parametrize(("value", "reason"), SLOTS.values(), ids=SLOTS)
def test_slots_that_are_no_number(host: Host, value: object, reason: str):
    class Odd(ScriptedExecutor):
        slots_available = value

    lane = host.lane(cls=Odd)
    assert host.wait(sick(lane), "sick") in {reason, "starting"}
    host.wait(lambda: lane.status().reason == reason, reason)
    host.wait(lambda: lane.status().health is Health.UNAVAILABLE, "it fails again and again")
    assert lane.status().open_slots == 0


@pytest.mark.parametrize(("slots", "shown"), [(-3, 0), (2**70, 2**31 - 1)])
def test_slots_beyond_all_measure_are_cut(host: Host, slots: int, shown: int):
    """Negative: more runs than fits. Huge: the column of the figure is an integer."""

    class Odd(ScriptedExecutor):
        slots_available = slots

    lane, _ = host.ready(cls=Odd)
    assert (lane.status().health, lane.status().open_slots) == (Health.HEALTHY, shown)


def test_unlimited_slots_fit_into_the_database(host: Host):
    lane, _ = host.ready(parallelism=0)
    assert lane.status().open_slots == 2**31 - 1


ATTRIBUTES = ("queued_tasks", "running", "parallelism", "slots_available")


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_that_are_replaced(host: Host, name: str):
    """By ``None``, then by something that raises KeyboardInterrupt; given back, all is well."""
    lane, executor = host.ready()
    cls = type(executor)
    type(executor).__name__  # noqa: B018
    executor.__class__ = type("Odd", (cls,), {name: None})
    executor.__dict__.pop(name, None)
    lane.request_heartbeat()
    host.wait(sick(lane), "sick")
    executor.__class__ = type("Odd", (cls,), {name: Property()})
    host.wait(lambda: "KeyboardInterrupt" in lane.status().reason, "the new reason")
    executor.__class__ = cls
    if name != "slots_available":
        setattr(executor, name, 4 if name == "parallelism" else {})
    host.wait(lambda: lane.status().health is Health.HEALTHY, "well again")


BUFFERS = {
    "none": (None, "get_event_buffer() returned NoneType, not a list"),
    "number": (5, "get_event_buffer() returned int, not a list"),
    "endless": (iter(int, 1), "get_event_buffer() returned callable_iterator, not a list"),
    "as in Airflow": ({"key": ("success", None)}, "get_event_buffer() returned dict, not a list"),
    "text": ("success", "get_event_buffer() returned str, not a list"),
    "tuples": ([("key", "success")] * 3, "3 entries of its event buffer are no events: tuple"),
}


@pytest.mark.parametrize(("buffer", "reason"), BUFFERS.values(), ids=BUFFERS)
def test_event_buffers_of_something_else(host: Host, buffer: object, reason: str):
    lane, _ = host.ready()
    break_it(host, lane, lambda executor: setattr(executor, "get_event_buffer", lambda: buffer))
    assert host.wait(sick(lane), "sick") == reason
    assert lane.take() == []


def test_events_are_delivered_although_others_beside_them_are_rubbish(host: Host):
    lane, executor = host.ready()
    key = make_workload().key
    odd_keys = [
        TaskInstanceKey("d", "t", "r", attempt_id=["unhashable"]),  # type: ignore[arg-type]
        TaskInstanceKey("d", "t", "r", try_number="1"),  # type: ignore[arg-type]
        "key",
    ]
    things = [Succeeded(key), *(Succeeded(odd) for odd in odd_keys), type("Fake", (Succeeded,), {})(key)]
    executor.get_event_buffer = lambda: [things.pop() for _ in list(things)]
    lane.request_heartbeat()
    assert host.events(lane) == [Succeeded(key)]


KEY = make_workload().key
TEXTS = {
    "clean": (Failed(KEY, "two\nlines"), Failed(KEY, "two\nlines")),
    "none": (Running(KEY), Running(KEY)),
    "number": (Succeeded(KEY, 0), Succeeded(KEY, "0")),
    "huge": (Failed(KEY, "x" * 10**7, refused=True), Failed(KEY, "x" * 3999 + "…", refused=True)),
    "not for a database": (Lost(KEY, "a\0b\ud800"), Lost(KEY, "a?b?")),
    "unspeakable": (Lost(KEY, UnspeakableError()), Lost(KEY, "(its text cannot be had)")),
    "certain": (Failed(KEY, "x" * 10**7, ended=True), Failed(KEY, "x" * 3999 + "…", ended=True)),
    "certain loss": (Lost(KEY, "a\0b", ended=True), Lost(KEY, "a?b", ended=True)),
    "waiting": (Pending(KEY, "no room"), Pending(KEY, "no room")),
    "waiting for something long": (Pending(KEY, "x" * 10**7), Pending(KEY, "x" * 3999 + "…")),
    "no longer waiting": (Pending(KEY), Pending(KEY)),
    "id": (Accepted(KEY, "pod-1"), Accepted(KEY, "pod-1")),
    "huge id": (Accepted(KEY, "x" * 251), Accepted(KEY)),
    "bytes id": (Accepted(KEY, b"pod"), Accepted(KEY)),
}


@pytest.mark.parametrize(("said", "taken"), TEXTS.values(), ids=TEXTS)
def test_texts_of_events_can_be_stored(host: Host, said: Any, taken: Any):
    lane, executor = host.ready()
    things = [said]
    executor.get_event_buffer = lambda: [things.pop() for _ in list(things)]
    lane.request_heartbeat()
    assert host.events(lane) == [taken]


class UndecidedError(RuntimeError):
    pass


class Undecided:
    """Neither yes nor no."""

    def __bool__(self) -> bool:
        raise UndecidedError


@pytest.mark.parametrize("flag", ["yes", None, 1, Undecided()], ids=lambda flag: type(flag).__name__)
@pytest.mark.parametrize("make", [partial(Failed, KEY, "x"), partial(Lost, KEY, "x")], ids=["failed", "lost"])
def test_proof_that_is_neither_yes_nor_no_is_rubbish(host: Host, make: Any, flag: object):
    """It would decide in the scheduler's thread whether an attempt may be started anew."""
    lane, executor = host.ready()
    things = [make(ended=flag), make(ended=True)]
    executor.get_event_buffer = lambda: [things.pop() for _ in list(things)]
    lane.request_heartbeat()
    assert host.events(lane) == [make(ended=True)]


TROUBLE = {
    "ours": (ExecutorError("the API server  at 10.0.0.1\ndoes not answer"), False),
    "ours, without words": (ExecutorError(), False),
    "somebody's": (ConnectionError("refused"), True),
}


@pytest.mark.parametrize(("error", "traced"), TROUBLE.values(), ids=TROUBLE)
def test_an_executors_own_errors_are_told_as_they_are(
    host: Host, error: Exception, traced: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """They are lines for people: neither who raised them nor a traceback adds to that."""
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    lane, executor = host.ready()
    executor.raises("sync", error)
    lane.request_heartbeat()
    told = {
        "ours": "the API server at 10.0.0.1 does not answer",
        "ours, without words": "heartbeat raised ExecutorError",
        "somebody's": "heartbeat raised ConnectionError: refused",
    }
    expected = next(told[name] for name, case in TROUBLE.items() if case[0] is error)
    assert host.wait(sick(lane), "sick") == expected
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert (record.getMessage(), bool(record.exc_info)) == (f"executor one: {expected}", traced)


HANDLES = {
    "none": (None, "poll_handles() returned NoneType, not a list"),
    "text": (["x"], "poll_handles() names 'x', which is no descriptor"),
    "negative": ([-1], "poll_handles() names -1, which is no open descriptor"),
    "beyond": ([2**80], f"poll_handles() names {2**80}, which is no open descriptor"),
    "object": ([sys.stdin], "which is no descriptor"),
}


@pytest.mark.parametrize(("value", "reason"), HANDLES.values(), ids=HANDLES)
def test_handles_that_are_none(host: Host, value: object, reason: str):
    lane, _ = host.ready()
    break_it(host, lane, lambda executor: setattr(executor, "poll_handles", lambda: value))
    assert reason in host.wait(sick(lane), "sick")
    host.wait(lambda: lane.status().health is Health.UNAVAILABLE, "each heartbeat shows it again")


REF = TaskInstanceRef(KEY)
ADOPTIONS = {
    "none": (lambda tis: None, "try_adopt_task_instances() returned NoneType, not a list"),
    "numbers": (lambda tis: [1, 2], "try_adopt_task_instances() returned 1, which was not offered"),
    "text": (lambda tis: "none of them", "try_adopt_task_instances() returned str, not a list"),
    "strangers": (lambda tis: [TaskInstanceRef(make_workload().key)], "which was not offered"),
    "exit": (lambda tis: sys.exit(3), "try_adopt_task_instances raised SystemExit: 3"),
}


@pytest.mark.parametrize(("adopt", "error"), ADOPTIONS.values(), ids=ADOPTIONS)
def test_adoption_that_makes_no_sense_is_an_error_and_a_fault(host: Host, adopt: Any, error: str, monkeypatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    lane, executor = host.ready()
    executor.try_adopt_task_instances = adopt
    lane.call("try_adopt_task_instances", [REF], token=1)
    (answer,) = host.events(lane)
    assert isinstance(answer, CallAnswer)
    assert answer.value is None
    assert error in str(answer.error)
    assert error in host.wait(sick(lane), "sick")


def test_adoption_may_change_the_list_it_is_given(host: Host):
    """As Airflow's own executors do; twice the same is once; what comes back are the references that were offered."""
    lane, executor = host.ready()
    offered = [TaskInstanceRef(make_workload().key, started=True) for _ in range(3)]

    def adopt(tis: list[TaskInstanceRef]) -> tuple[TaskInstanceRef, ...]:
        tis.remove(offered[0])
        return (*(TaskInstanceRef(ref.key, queue="changed") for ref in tis), tis[0])

    executor.try_adopt_task_instances = adopt
    lane.call("try_adopt_task_instances", offered, token=1)
    assert host.events(lane) == [CallAnswer(1, offered[1:])]
    assert len(offered) == 3


QUESTIONS = {
    "log of one text": ("get_task_log", lambda *_: "text", "not (messages, logs)"),
    "log of bytes": ("get_task_log", lambda *_: ([], [b"x"]), "get_task_log() returned [b'x'], not texts"),
    "log that is none": ("get_task_log", lambda *_: None, "get_task_log() returned None, not (messages, logs)"),
    "log that exits": ("get_task_log", lambda *_: sys.exit(), "get_task_log raised SystemExit"),
}


@pytest.mark.parametrize(("method", "function", "error"), QUESTIONS.values(), ids=QUESTIONS)
def test_answers_that_make_no_sense_are_errors_and_no_fault(host: Host, method: str, function: Any, error: str):
    lane, executor = host.ready()
    setattr(executor, method, function)
    lane.call(method, REF, 1, token=1)
    (answer,) = host.events(lane)
    assert isinstance(answer, CallAnswer)
    assert error in str(answer.error)
    assert lane.status().health is Health.HEALTHY


def test_good_answers_pass(host: Host):
    lane, executor = host.ready()
    executor.get_task_log = lambda *_: (("message",), ["log"])
    executor.health_check = lambda: "the broker\0is slow"
    for token, question in enumerate(
        [("get_task_log", REF, 1), ("health_check",), ("cleanup_stuck_queued_tasks", [REF])]
    ):
        lane.call(*question, token=token)
    answers = [answer.value for answer in host.events(lane, 3)]  # type: ignore[union-attr]
    assert answers == [(["message"], ["log"]), "the broker?is slow", [str(KEY)]]


CALLBACK = CallbackRequest(KEY, "task_retry", "two\nlines \0").to_json()


def test_callback_request_is_delivered_as_it_was_sent(host: Host):
    lane, executor = host.ready(script=lambda made: None)
    executor.context = replace(executor.context, callback_sink=lane.send_callback)
    executor.send_callback(CallbackRequest(KEY, "task_retry", "two\nlines \0"))
    assert host.events(lane) == [CallbackSent("one", CALLBACK)]


NO_CALLBACKS = {
    "none": None,
    "number": 5,
    "bytes": b"{}",
    "empty": "",
    "object": "{}",
    "null": "null",
    "too long": CALLBACK + " " * 100_000,
}


@pytest.mark.parametrize("sent", NO_CALLBACKS.values(), ids=NO_CALLBACKS)
def test_callback_that_is_none_is_refused_where_it_is_sent(host: Host, sent: Any):
    lane, _ = host.ready()
    with pytest.raises(ValueError, match="callback request"):
        lane.send_callback(sent)
    assert lane.take() == []


def test_revoke_that_raises_frees_the_slot_and_is_a_fault(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    lane, executor = host.ready()
    workload = make_workload()
    lane.dispatch(workload)
    host.wait(lambda: lane.status().running == 1, "running")
    executor.raises("revoke_task", LookupError("where is it"))
    lane.revoke(TaskInstanceRef(workload.key))
    assert host.wait(sick(lane), "sick") == "revoke_task raised LookupError: where is it"
    host.wait(lambda: lane.status().running == 0, "its slot is free")


def test_a_hundred_failures_in_one_turn_are_one(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    lane, executor = host.ready()
    executor.raises("revoke_task")
    entered = host.hang(executor, "heartbeat")
    lane.request_heartbeat()
    assert entered.wait(DEADLINE)
    for _ in range(100):
        lane.revoke(TaskInstanceRef(make_workload().key))
    host.hangs[0].set()
    host.wait(lambda: lane.status().health is Health.DEGRADED, "degraded, not unavailable")
    assert lane._breaker.failures == 1


def test_questions_in_a_pause_do_not_put_the_next_try_off(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "FIRST_PAUSE", NEVER)
    lane, executor = host.ready()
    executor.get_event_buffer = lambda: None
    lane.request_heartbeat()
    host.wait(sick(lane), "sick")
    due = lane._breaker.retry_at
    for token in range(5):
        lane.call("debug_dump", token=token)
        host.events(lane)
    assert lane._breaker.retry_at == due


ERRORS = {
    "exit": SystemExit("x"),
    "interrupt": KeyboardInterrupt(),
    "unspeakable": UnspeakableError(),
    "huge": ValueError("y" * 10**7),
    "not for a database": ValueError("a\0b\ud800"),
    "stop": StopIteration(),
    "generator": GeneratorExit(),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("method", ["start", "heartbeat", "sync", "execute_async"])
def test_anything_may_be_raised(host: Host, method: str, error: BaseException):
    lane = host.lane(script=lambda made: made.raises(method, error, times=2))  # type: ignore[arg-type]
    reasons: set[str] = set()
    lane.dispatch(make_workload())
    host.wait(lambda: reasons.add(lane.status().reason) or lane.status().running == 1, "launched in the end")
    for reason in reasons:
        assert len(reason) <= containment.LONGEST_REASON
        assert reason.encode().decode() == reason
        assert "\0" not in reason
        assert "\n" not in reason


def test_executor_that_closes_the_lanes_own_descriptor(host: Host):
    """A sweep over descriptors that are not its own, as some daemonizing code does."""
    lane, executor = host.ready()
    for _ in range(3):
        host.wait(lambda: lane._mail._signalled is False, "the lane has seen what was posted")
        beat = executor.heartbeat

        def sweep(beat: Any = beat) -> None:
            os.close(lane._mail._wake_fd)
            executor.heartbeat = beat
            beat()

        executor.heartbeat = sweep
        lane.request_heartbeat()
        host.wait(lambda beat=beat: executor.heartbeat == beat, "swept")
        workload = make_workload()
        executor.instant = True
        lane.dispatch(workload)
        assert host.events(lane) == [Succeeded(workload.key)]
    lane.terminate()
    assert lane.join(DEADLINE)
    assert lane.status().reason == "ended"


def test_end_of_an_executor_whose_queue_cannot_be_read(host: Host):
    """Nobody knows whether it has drained: it is terminated when its time is over."""
    lane, executor = host.ready()
    executor.queued_tasks = Property()  # type: ignore[assignment]
    executor.__class__ = type("Odd", (ScriptedExecutor,), {"queued_tasks": Property()})
    lane.end(30.0)
    host.wait(lambda: lane.status().health is Health.DRAINING, "draining")
    host.clock.ahead = 31
    lane.request_heartbeat()
    assert lane.join(DEADLINE)
    assert ("terminate", None) in executor.calls


# -- any executor ------------------------------------------------------------------------------------------------------

RUBBISH: list[Any] = [
    None, -1, "text", b"bytes", [1], [None], (("key", "success"),), {"a": 1}, {}, [KEY], object(), True, 2**70,
    float("nan"),
]  # fmt: skip
HOOKS = (
    "heartbeat", "sync", "execute_async", "queue_workload", "revoke_task", "get_event_buffer", "poll_handles",
    "try_adopt_task_instances", "get_task_log", "health_check", "debug_dump", "end", "terminate", "start", "has_task",
)  # fmt: skip
VALUES = ("queued_tasks", "running", "parallelism", "slots_available", "context", "name", "_events")
behaviours = st.one_of(
    st.tuples(st.just("raise"), st.sampled_from(list(ERRORS.values()))),
    st.tuples(st.just("give"), st.sampled_from(RUBBISH)),
)
scripts = st.dictionaries(st.sampled_from(HOOKS), behaviours, max_size=4)
replaced = st.dictionaries(st.sampled_from(VALUES), st.sampled_from(RUBBISH), max_size=2)


def misbehave(what: tuple[str, Any]) -> Callable[..., Any]:
    kind, value = what

    def hook(*_: object, **__: object) -> Any:
        if kind == "raise":
            raise value
        return value

    return hook


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts, values=replaced, when=st.sampled_from(["constructor", "running"]))
def test_no_executor_disturbs_its_host(
    host: Host, script: dict[str, tuple[str, Any]], values: dict[str, Any], when: str
):
    """Whatever the hooks raise or return, and whatever becomes of the attributes: the thread lives, and everything that
    the scheduler takes is well-formed.
    """

    def spoil(made: ScriptedExecutor) -> None:
        hooks = {name: misbehave(what) for name, what in script.items()}
        made.__class__ = type("Odd", (ScriptedExecutor,), {**hooks, **values})
        for name in values:
            made.__dict__.pop(name, None)

    lane = host.lane(f"lane{len(host.lanes)}", script=spoil if when == "constructor" else lambda _: None)
    workload = make_workload()
    lane.dispatch(workload)
    lane.request_heartbeat()
    host.wait(lambda: lane.status().reason != "starting", "a first turn")
    if when == "running":
        spoil(host.executors[lane.name])
    lane.dispatch(make_workload())
    lane.revoke(TaskInstanceRef(workload.key))
    lane.call("try_adopt_task_instances", [REF], token="adopt", deadline=0.2)
    lane.call("get_task_log", REF, 1, token="log", deadline=0.2)
    lane.send_callback(CALLBACK)
    taken: list[Any] = []
    host.wait(
        lambda: taken.extend(lane.take()) or {"adopt", "log"} <= {getattr(thing, "token", None) for thing in taken},
        "answers, or that there are none",
    )
    assert lane._thread.is_alive()
    for thing in taken:
        check(thing)
    status = lane.status()
    assert all(type(value) is int and 0 <= value < 2**31 for value in (status.parallelism, status.open_slots))
    assert all(type(value) is int and 0 <= value < 2**31 for value in (status.queued, status.running))
    assert type(status.reason) is str
    assert len(status.reason) <= 400
    lane.terminate()
    assert lane.join(DEADLINE)
    assert lane.status().reason == "ended"
    for thing in lane.take():
        check(thing)


def check(thing: Any) -> None:
    if isinstance(thing, CallbackSent):
        assert thing.request == CALLBACK
    elif isinstance(thing, CallAnswer):
        if thing.token == "adopt" and thing.error is None:
            assert thing.value in ([], [REF])
    else:
        assert type(thing.key) is TaskInstanceKey
        text = (
            getattr(thing, "reason", None) or getattr(thing, "info", None) or getattr(thing, "external_id", None) or ""
        )
        assert type(text) is str
        assert "\0" not in text.encode().decode()
