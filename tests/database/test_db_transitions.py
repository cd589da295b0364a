"""Batches of transitions: what was decided is written as a whole, or nothing of it."""

from __future__ import annotations

import pytest

from runtime.core.states import AttemptState, IllegalTransitionError, TaskState
from runtime.db.schema import event, run_inbox, task_attempt
from runtime.db.transitions import Batch, GuardRefusedError, Subject
from tests.database.builders import START, World, task

LAUNCH = {"start_nonce": "n1", "hostname": "h", "pid": 1, "pid_started": 2, "boot_id": "b", "file_hash": "f"}


def write(world: World, batch: Batch) -> None:
    with world.database.write() as connection:
        batch.write(connection)


def everything(world: World, run_id: int) -> tuple[object, ...]:
    return (world.states(run_id), world.rows(task_attempt), world.rows(event), world.rows(run_inbox))


def test_whole_life_leaves_an_event_for_each_transition(world: World) -> None:
    run = world.begin(task("t", retries=1))
    (instance,) = run.instances.values()
    first = world.queue(instance)
    world.start(first)
    world.finish(first, "failed", retry_delay=5.0, reason="oops")
    world.refresh(instance)
    second = world.queue(instance)
    world.start(second)
    world.finish(second)
    assert world.story(instance.id) == [
        "none>scheduled",
        "scheduled>queued",
        "queued>running",
        "running>up_for_retry",
        "up_for_retry>scheduled",
        "scheduled>queued",
        "queued>running",
        "running>success",
    ]
    rows = world.rows(event, event.c.task_instance_id == instance.id)
    assert [row.attempt_id for row in rows] == [None, *[first] * 4, *[second] * 3]
    assert (rows[3].reason, rows[3].actor, rows[3].at) == ("oops", "worker", START)


def test_queue_commits_the_attempt_with_the_state(world: World) -> None:
    (instance,) = world.begin(task("t")).instances.values()
    identifier = world.queue(instance, "east")
    attempt = world.attempt(identifier)
    assert (attempt.state, attempt.executor, attempt.executor_reason, attempt.queued_at) == (
        "queued",
        "east",
        "test",
        START,
    )
    row = world.ti("t")
    assert (row.state, row.attempt_id, row.try_number, row.dispatch_number, row.queued_at, row.scheduled_at) == (
        "queued",
        identifier,
        1,
        1,
        START,
        START,
    )


@pytest.mark.parametrize(
    "believed",
    [
        pytest.param({"state": TaskState.SCHEDULED}, id="another state"),
        pytest.param({"attempt_id": "other"}, id="another attempt"),
        pytest.param({"attempt_id": None}, id="no attempt"),
        pytest.param({"id": "no such instance"}, id="another instance"),
    ],
)
def test_one_refused_guard_undoes_the_whole_batch(world: World, believed: dict[str, object]) -> None:
    run = world.begin(task("right"), task("wrong"))
    right, wrong = run.instances.values()
    world.queue(right)
    world.queue(wrong)
    before = everything(world, run.id)
    batch = Batch(START, "test")
    batch.end(right.subject, TaskState.FAILED, reason="x")
    batch.end_attempt(right.attempt_id or "", AttemptState.LOST)
    told = {"id": wrong.id, "dag_run_id": run.id, "state": wrong.state, "attempt_id": wrong.attempt_id} | believed
    batch.end(Subject(**told), TaskState.SKIPPED)  # type: ignore[arg-type]
    batch.notify(run.id, "ended", wrong.id, None)
    with pytest.raises(GuardRefusedError, match=r"end: 1 of 2 rows were still as decided"):
        write(world, batch)
    assert everything(world, run.id) == before


def test_attempt_that_is_over_cannot_end_again(world: World) -> None:
    (instance,) = world.begin(task("t")).instances.values()
    identifier = world.queue(instance)
    world.start(identifier)
    world.finish(identifier)
    batch = Batch(START, "test")
    batch.end_attempt(identifier, AttemptState.LOST, "late")
    with pytest.raises(GuardRefusedError, match="end attempt: 0 of 1"):
        write(world, batch)
    assert world.attempt(identifier).state == "success"


def test_attempt_that_runs_cannot_be_started_again(world: World) -> None:
    (instance,) = world.begin(task("t")).instances.values()
    identifier = world.queue(instance)
    world.start(identifier)
    batch = Batch(START, "test")
    batch.start(Subject(instance.id, instance.run.id, TaskState.QUEUED, identifier), LAUNCH)
    with pytest.raises(GuardRefusedError, match="start: 0 of 1"):
        write(world, batch)
    assert world.attempt(identifier).hostname == "worker"


def test_illegal_transition_tells_the_story(world: World) -> None:
    (instance,) = world.begin(task("t")).instances.values()
    batch = Batch(START, "scheduler x")
    with pytest.raises(IllegalTransitionError) as caught:
        batch.end(instance.subject, TaskState.RUNNING, reason="because")
    assert str(caught.value) == (
        f"none → running is not a legal transition: d.t {instance.run.run_id}, attempt None, by scheduler x: because"
    )
    assert not batch


def test_two_steps_of_one_instance_in_one_batch(world: World) -> None:
    """A lost attempt may be scheduled again and queued in the same transaction."""
    (instance,) = world.begin(task("t")).instances.values()
    old = world.queue(instance)
    batch = Batch(START, "test")
    batch.end_attempt(old, AttemptState.LOST, "gone")
    batch.schedule(instance.subject, same_try=True, infra_losses=1, reason="gone")
    write(world, batch)
    world.refresh(instance)
    assert (instance.state, instance.attempt_id, instance.infra_losses) == (TaskState.SCHEDULED, old, 1)
    new = world.queue(instance)
    assert [(a.id, a.state, a.try_number, a.dispatch_number) for a in world.attempts("t")] == [
        (old, "lost", 1, 1),
        (new, "queued", 1, 2),
    ]


def test_scheduled_anew_forgets_the_attempt_before(world: World) -> None:
    (instance,) = world.begin(task("t", retries=1)).instances.values()
    identifier = world.queue(instance)
    world.start(identifier)
    world.finish(identifier, "failed", retry_delay=1.0)
    world.refresh(instance)
    assert world.ti("t").retry_at == START + 1_000_000
    batch = Batch(START, "test")
    batch.schedule(instance.subject)
    write(world, batch)
    row = world.ti("t")
    assert (row.state, row.attempt_id, row.retry_at) == ("scheduled", None, None)


def test_empty_batch_is_false(world: World) -> None:
    assert not Batch(START, "test")


def test_external_id_is_cut_to_its_column(world: World) -> None:
    """Executors choose it, so its length must not undo a step."""
    run = world.begin(task("t"))
    attempt = world.queue(next(iter(run.instances.values())))
    with world.database.write() as connection:
        connection.execute(task_attempt.update().values(external_id="x" * 300))
    assert world.attempt(attempt).external_id == "x" * 250
