"""The task service: start once, report once, and nothing that one worker sends hurts another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runtime.core import messages as m
from runtime.core.clock import SECOND
from runtime.core.states import AttemptState, TaskState
from runtime.db.schema import event, run_inbox, xcom
from runtime.db.transitions import ENDED, OWING, Batch
from runtime.scheduler.runs import Instance
from tests.database.builders import DAY, START, World, spec, start, task


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


@pytest.fixture
def instance(world: World) -> Instance:
    """Of a task with one retry, nothing of it has been dispatched."""
    return next(iter(world.begin(task("t", retries=1)).instances.values()))


@pytest.fixture
def running(world: World, instance: Instance) -> str:
    """Id of an attempt that launch ``n1`` was granted."""
    identifier = world.queue(instance)
    assert world.start(identifier).granted
    return identifier


def lose(world: World, instance: Instance, *, same_try: bool = True) -> None:
    """What the scheduler does with a lost attempt."""
    world.refresh(instance)
    batch = Batch(world.at, "test")
    batch.end_attempt(instance.attempt_id or "", AttemptState.LOST, "gone")
    batch.schedule(instance.subject, same_try=same_try, infra_losses=1, reason="gone")
    with world.database.write() as connection:
        batch.write(connection)
    world.refresh(instance)


def values(world: World) -> dict[str, str]:
    return {row.key: row.value for row in world.rows(xcom)}


def everything(world: World) -> tuple[Any, ...]:
    return (world.ti("t"), world.attempts("t"), world.rows(event), world.rows(run_inbox), world.rows(xcom))


# -- start


def test_granted_start_says_what_to_run(world: World) -> None:
    world.save(spec("d", task("t", retries=2, queue="fast", pool="p")), file_hash="abc")
    run = world.claim(world.trigger("d", "r", conf={"k": "v"}, logical_date=START - DAY))
    identifier = world.queue(next(iter(run.instances.values())), "east")
    reply = world.start(identifier)
    assert reply.context == m.RunContext(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        try_number=1,
        max_tries=2,
        dispatch_number=1,
        rel_path="dags.py",
        file_hash="abc",
        run_type="manual",
        run_after=START,
        logical_date=START - DAY,
        data_interval_start=START - DAY,
        data_interval_end=START - DAY,
        run_start_date=START,
        conf={"k": "v"},
        task_start_date=START,
        executor="east",
        queue="fast",
        pool="p",
    )
    attempt = world.attempt(identifier)
    assert (attempt.state, attempt.start_nonce, attempt.hostname, attempt.pid) == ("running", "n1", "worker", 4242)
    assert (attempt.pid_started, attempt.boot_id, attempt.file_hash) == (99, "boot", "seen")
    assert (attempt.started_at, attempt.heartbeat_at, world.ti("t").start_date) == (START, START, START)


def test_same_launch_may_ask_again(world: World, running: str) -> None:
    before = everything(world)
    assert world.start(running).granted
    assert everything(world) == before


def test_another_launch_of_the_attempt_is_refused(world: World, running: str) -> None:
    reply = world.start(running, "n2")
    assert (reply.granted, reply.context) == (False, None)
    assert reply.reason == "the attempt is running and the task instance running"


def test_of_two_launches_in_one_batch_one_is_granted(world: World, instance: Instance) -> None:
    identifier = world.queue(instance)
    replies = world.ask(start(identifier, "n1"), start(identifier, "n2"), start(identifier, "n1"))
    assert [reply.granted for reply in replies] == [True, False, True]
    assert world.attempt(identifier).start_nonce == "n1"


@pytest.mark.parametrize("outcome", ["success", "failed", "skipped"])
def test_ended_attempt_starts_no_more(world: World, running: str, outcome: str) -> None:
    world.finish(running, outcome)
    assert not world.start(running).granted
    assert not world.start(running, "n2").granted


def test_attempt_that_was_replaced_starts_no_more(world: World, instance: Instance) -> None:
    old = world.queue(instance)
    lose(world, instance)
    new = world.queue(instance)
    assert world.start(old).reason == "a newer attempt has replaced this one"
    assert world.start(new).granted


def test_unknown_attempt_is_refused_everything(world: World) -> None:
    ghost = "no-such-attempt"
    replies = world.ask(
        start(ghost),
        m.Heartbeat(ghost, "n1"),
        m.Finish(ghost, "n1", "success"),
        m.XComPush(ghost, "n1", "k", raw("1")),
        m.XComPull(ghost, "n1", ("t",)),
    )
    answers = [replies[0].granted, replies[1].go_on, replies[2].accepted, replies[3].accepted, replies[4].values]
    assert answers == [False, False, False, False, ()]
    assert {reply.reason for reply in replies} == {"there is no such attempt"}


# -- heartbeat


def test_heartbeat_is_noted(world: World, running: str) -> None:
    world.forward(30)
    assert world.ask(m.Heartbeat(running, "n1")) == [m.HeartbeatReply(True)]
    assert world.attempt(running).heartbeat_at == START + 30 * SECOND


def test_heartbeat_of_another_launch_is_refused_and_not_noted(world: World, running: str) -> None:
    world.forward(30)
    (reply,) = world.ask(m.Heartbeat(running, "n2"))
    assert (reply.go_on, reply.reason) == (False, "another launch of this attempt was granted the start")
    assert world.attempt(running).heartbeat_at == START


def test_heartbeat_before_the_start_is_refused(world: World, instance: Instance) -> None:
    identifier = world.queue(instance)
    assert not world.ask(m.Heartbeat(identifier, "n1"))[0].go_on


def test_heartbeat_tells_a_lost_attempt_to_stop(world: World, instance: Instance, running: str) -> None:
    lose(world, instance)
    (reply,) = world.ask(m.Heartbeat(running, "n1"))
    assert (reply.go_on, reply.reason) == (False, "the attempt is over: gone")


def test_heartbeat_tells_a_cleared_task_to_stop(world: World, running: str) -> None:
    world.clear("d")
    (reply,) = world.ask(m.Heartbeat(running, "n1"))
    assert (reply.go_on, reply.reason) == (False, "the task instance is restarting: cleared")


# -- finish


@pytest.mark.parametrize(
    ("report", "state", "retry_at"),
    [
        ({"outcome": "success"}, "success", None),
        ({"outcome": "skipped"}, "skipped", None),
        ({"outcome": "failed", "retry_delay": 7.5}, "up_for_retry", START + 7_500_000),
        ({"outcome": "failed", "retry_delay": -1.0}, "up_for_retry", START),
        ({"outcome": "failed", "retry": False}, "failed", None),
        ({"outcome": "failed", "retry": False, "called_back": True}, "failed", None),
    ],
)
def test_outcome_becomes_state(
    world: World, running: str, report: dict[str, Any], state: str, retry_at: int | None
) -> None:
    reply = world.finish(running, reason="why", **report)
    row = world.ti("t")
    assert (reply.accepted, reply.state, row.state, row.retry_at) == (True, state, state, retry_at)
    assert (row.end_date, row.reason, world.attempt(running).state) == (START, "why", report["outcome"])
    owing = report["outcome"] == "failed" and not report.get("called_back")
    assert world.inbox() == [(row.dag_run_id, OWING if owing else ENDED)]
    assert world.reports == 1


def test_last_try_fails_for_good(world: World, instance: Instance, running: str) -> None:
    world.finish(running, "failed")
    second = world.queue(world.refresh(instance))
    world.start(second)
    assert world.finish(second, "failed").state == "failed"


def test_repeated_report_is_accepted_and_changes_nothing(world: World, running: str) -> None:
    world.finish(running, "failed")
    before = everything(world)
    reply = world.finish(running, "failed")
    assert (reply.accepted, reply.state) == (True, "up_for_retry")
    assert everything(world) == before


def test_contradicting_report_is_refused(world: World, running: str) -> None:
    world.finish(running, "success")
    reply = world.finish(running, "failed")
    assert (reply.accepted, reply.state, reply.reason) == (False, "success", "the attempt is over: success")
    assert world.attempt(running).state == "success"


def test_report_after_the_loss_is_refused(world: World, instance: Instance, running: str) -> None:
    """A process frozen from outside may wake up; nothing it then reports is accepted."""
    lose(world, instance)
    before = everything(world)
    assert not world.finish(running).accepted
    assert everything(world) == before
    new = world.queue(instance)
    world.start(new, "n2")
    assert not world.finish(running).accepted
    assert world.finish(new, nonce="n2").state == "success"


def test_report_without_a_granted_start_is_refused(world: World, instance: Instance) -> None:
    identifier = world.queue(instance)
    assert world.finish(identifier).reason == "this launch was never granted the start"
    world.start(identifier, "n1")
    assert not world.finish(identifier, nonce="n2").accepted
    assert world.ti("t").state == "running"


@pytest.mark.parametrize("outcome", ["", "done", "running", "queued", "lost", "up_for_retry"])
def test_outcome_that_is_none_is_refused(world: World, running: str, outcome: str) -> None:
    reply = world.finish(running, outcome)
    assert not reply.accepted
    assert reply.reason == f"outcome {outcome!r} is none of success, failed, skipped"
    assert world.ti("t").state == "running"


@pytest.mark.parametrize("delay", [1e18, 1e300, -1e300])
def test_absurd_retry_delay_fits_into_the_database(world: World, running: str, delay: float) -> None:
    """``retry_delay=timedelta.max`` is one of them."""
    assert world.finish(running, "failed", retry_delay=delay).state == "up_for_retry"
    assert START <= world.ti("t").retry_at < 2**62


def test_cleared_task_starts_anew_whatever_it_reports(world: World, running: str) -> None:
    world.clear("d")
    reply = world.finish(running, "success", return_value=raw("1"))
    assert (reply.accepted, reply.state) == (True, TaskState.NONE)
    assert world.attempt(running).state == "success"
    assert values(world) == {}, "nobody may read what it returned"


def test_nothing_to_apply_wakes_nobody(world: World, running: str) -> None:
    world.ask(m.Heartbeat(running, "n1"))
    assert world.reports == 0


# -- XComs


def push(identifier: str, key: str, value: str, nonce: str = "n1") -> m.XComPush:
    return m.XComPush(identifier, nonce, key, raw(value))


def pull(identifier: str, *tasks: str, nonce: str = "n1", **options: Any) -> m.XComPull:
    return m.XComPull(identifier, nonce, tasks, **options)


def told(reply: m.XComValues) -> list[tuple[str, int, str]]:
    return [(task_id, map_index, bytes(value).decode()) for task_id, map_index, value in reply.values]


def test_pushed_values_are_pulled_also_within_one_batch(world: World, running: str) -> None:
    replies = world.ask(
        push(running, "k", '{"a": 1}'),
        pull(running, "t", key="k"),
        push(running, "k", "2"),
        pull(running, "t", key="k"),
    )
    assert [told(replies[1]), told(replies[3])] == [[("t", -1, '{"a": 1}')], [("t", -1, "2")]]
    assert values(world) == {"k": "2"}


def test_return_value_is_stored_with_the_state(world: World, running: str) -> None:
    world.finish(running, return_value=raw("null"))
    assert values(world) == {"return_value": "null"}


def test_values_come_in_the_order_that_was_asked_for(world: World) -> None:
    run = world.begin(task("b"), task("a"), task("reader"))
    attempts = {}
    for instance in run.instances.values():
        attempts[instance.node.spec.task_id] = identifier = world.queue(instance)
        world.start(identifier)
    for name in ("a", "b"):
        world.finish(attempts[name], return_value=raw(f'"{name}"'))
    (reply,) = world.ask(pull(attempts["reader"], "b", "nobody", "a"))
    assert told(reply) == [("b", -1, '"b"'), ("a", -1, '"a"')]


def test_other_runs_are_read_by_name_only(world: World) -> None:
    world.save(spec("d", task("t")))
    attempts = []
    for name in ("one", "two"):
        run = world.claim(world.trigger("d", name))
        attempts.append(world.queue(next(iter(run.instances.values()))))
        world.start(attempts[-1])
        world.ask(push(attempts[-1], "k", f'"{name}"'))
    replies = world.ask(
        pull(attempts[0], "t", key="k"),
        pull(attempts[0], "t", key="k", run_id="two"),
        pull(attempts[0], "t", key="k", dag_id="d", run_id="two"),
        pull(attempts[0], "t", key="k", run_id="three"),
        pull(attempts[0], "t", key="k", map_index=3),
    )
    assert [[value for *_, value in told(reply)] for reply in replies] == [['"one"'], ['"two"'], ['"two"'], [], []]


def test_new_try_forgets_what_the_old_one_pushed(world: World, instance: Instance, running: str) -> None:
    world.ask(push(running, "old", "1"), push(running, "both", "1"))
    world.finish(running, "failed")
    second = world.queue(world.refresh(instance))
    assert set(values(world)) == {"old", "both"}, "until it starts"
    world.start(second, "n2")
    assert values(world) == {}
    world.ask(push(second, "both", "2", nonce="n2"))
    assert values(world) == {"both": "2"}


def test_start_repeated_late_forgets_nothing(world: World, instance: Instance, running: str) -> None:
    """A request that a proxy delivers a second time, when the task has pushed values already."""
    world.finish(running, "failed")
    second = world.queue(world.refresh(instance))
    world.start(second)
    world.ask(push(second, "k", "1"))
    assert world.start(second).granted
    assert values(world) == {"k": "1"}


def test_new_dispatch_of_the_same_try_forgets_too(world: World, instance: Instance, running: str) -> None:
    world.ask(push(running, "k", "1"))
    lose(world, instance)
    world.start(world.queue(instance), "n2")
    assert values(world) == {}


@pytest.mark.parametrize("how", ["lost", "finished", "other nonce"])
def test_who_does_not_run_neither_reads_nor_writes(world: World, instance: Instance, running: str, how: str) -> None:
    world.ask(push(running, "k", "1"))
    if how == "lost":
        lose(world, instance)
    elif how == "finished":
        world.finish(running)
    nonce = "n2" if how == "other nonce" else "n1"
    pushed, pulled = world.ask(push(running, "k", "2", nonce), pull(running, "t", key="k", nonce=nonce))
    assert (pushed.accepted, told(pulled)) == (False, [])
    assert pushed.reason == pulled.reason != ""
    assert values(world) == {"k": "1"}


def test_late_finish_does_not_replace_the_return_value(world: World, running: str) -> None:
    world.finish(running, return_value=raw("1"))
    assert world.finish(running, return_value=raw("2")).accepted
    assert values(world) == {"return_value": "1"}


# -- batches


def test_empty_batch(world: World) -> None:
    assert world.service([]) == []


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"{}", b'{"type":"start"}', b'{"type":"x"}'])
def test_garbage_does_not_spoil_the_batch(world: World, running: str, garbage: bytes) -> None:
    finish = m.encode(m.Finish(running, "n1", "success"))
    first, second = (m.decode_reply(reply) for reply in world.service([garbage, finish]))
    assert first == m.Done(False, "this is no request of the task service's protocol")
    assert second == m.Finished(True, "success")


def test_request_that_the_database_cannot_hold_does_not_spoil_the_batch(world: World) -> None:
    """A number of more than 64 bits is a valid request, and no row."""
    run = world.begin(task("t"), task("u"))
    bad, good = (world.queue(instance) for instance in run.instances.values())
    replies = world.ask(start(bad, pid=2**70), start(good))
    assert (type(replies[0]), replies[0].accepted) == (m.Done, False)
    assert replies[0].reason.startswith("the request could not be carried out: ")
    assert replies[1].granted
    assert sorted(world.states(run.id).values()) == ["queued", "running"]


def test_whole_life_in_one_batch(world: World, instance: Instance) -> None:
    identifier = world.queue(instance)
    started, beat, finished, late = world.ask(
        start(identifier),
        m.Heartbeat(identifier, "n1"),
        m.Finish(identifier, "n1", "success"),
        m.Heartbeat(identifier, "n1"),
    )
    assert (started.granted, beat.go_on, finished.accepted, late.go_on) == (True, True, True, False)
    assert world.attempt(identifier).state == "success"


def test_finish_twice_in_one_batch_ends_once(world: World, running: str) -> None:
    replies = world.ask(*[m.Finish(running, "n1", "success")] * 2, m.Finish(running, "n1", "failed"))
    assert [reply.accepted for reply in replies] == [True, True, False]
    assert len(world.inbox()) == 1


def test_report_with_a_reason_of_any_characters_is_taken(world: World, running: str) -> None:
    """``raise ValueError("\\0")`` in a task: PostgreSQL stores no NUL, and the report must not be lost for it."""
    assert world.finish(running, "failed", reason="ValueError: \0", retry=False).accepted
    assert world.attempt(running).reason == "ValueError: \\0"


def test_host_with_a_very_long_name_may_start(world: World, instance: Instance) -> None:
    attempt = world.queue(instance)
    (reply,) = world.ask(start(attempt, hostname="h" * 300))
    assert reply.granted
    assert world.attempt(attempt).hostname == "h" * 250
