"""The part of the contract that needs no backend: slots, order, identity, events, trouble, figures."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from executors.base import LAUNCH_ATTEMPTS, BaseExecutor
from executors.callbacks import CallbackRequest
from executors.cli import ActionCommand, GroupCommand
from executors.errors import ExecutorConfigError
from executors.events import FINAL_EVENTS, Accepted, ExecutorEvent, Failed, Lost, Pending, Running, Succeeded, Unknown
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload


class RecordedStats:
    """Remembers the last value of each gauge."""

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value

    def incr(self, name: str, count: int = 1) -> None:
        """Not of interest."""

    def timing(self, name: str, seconds: float) -> None:
        """Not of interest."""


class ContractBase:
    """What both parts of the contract need."""

    def make_workload(self, task_id: str = "task", dag_id: str = "contract", **fields: Any) -> Workload:
        """A workload under an attempt id of its own."""
        key = TaskInstanceKey(dag_id, task_id, "contract_run", attempt_id=str(uuid.uuid4()))
        return Workload(**{"key": key, "command": ("true",), "code": CodeReference("contract.py", "0"), **fields})


class BookkeepingContract(ContractBase):
    """Most tests look at :meth:`bare`, an executor of the same class that is not started and has no backend. Where
    yours needs more for that, set ``bare_members``.
    """

    bare_members: ClassVar[Mapping[str, Any]] = {}
    """What else to replace in a bare executor, besides ``execute_async`` and ``sync``."""

    def bare(
        self, executor: BaseExecutor, parallelism: int, **context: Any
    ) -> tuple[BaseExecutor, list[TaskInstanceKey]]:
        """An executor of the same class whose launches go into the list that is returned with it.

        :param context: fields of the context that differ from the given executor's.
        """
        launched: list[TaskInstanceKey] = []

        def execute_async(_: BaseExecutor, key: TaskInstanceKey, *_args: Any, **_options: Any) -> None:
            launched.append(key)

        own = {"execute_async": execute_async, "sync": lambda _: None, **self.bare_members}
        made: BaseExecutor = type(type(executor).__name__, (type(executor),), own)(
            parallelism, context=dataclasses.replace(executor.context, **context)
        )
        return made, launched

    # -- slots

    def test_negative_parallelism_is_refused(self, executor: BaseExecutor) -> None:
        text = _raised(lambda: type(executor)(-1, context=executor.context), ExecutorConfigError)
        assert text is not None, "parallelism = -1 was accepted"
        assert "0 for unlimited" in text, "the error has to say what to write"

    def test_zero_parallelism_starts_everything(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 0)
        if bare.parallelism:
            return  # it has a fixed number of slots
        for number in range(1000):
            bare.queue_workload(self.make_workload(f"t{number}"))
        bare.heartbeat()
        assert len(launched) == len(bare.running) == bare.slots_occupied == 1000, "not all of 1,000 are running"
        assert bare.slots_available > 1_000_000, "an unlimited executor ran out of slots"
        for key in launched:
            bare.success(key)
        assert len(bare.get_event_buffer()) == 1000, "an end got lost"
        assert bare.slots_occupied == 0, "slots leaked"

    def test_each_workload_counts_once(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 4)
        free = bare.slots_available
        bare.queue_workload(self.make_workload())
        assert (bare.slots_occupied, bare.slots_available) == (1, free - 1), "a queued workload takes one slot"
        bare.heartbeat()
        assert (bare.slots_occupied, bare.slots_available) == (1, free - 1), "a running workload takes one slot"

    def test_no_more_start_than_there_are_slots(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 2)
        slots = bare.slots_available
        for number in range(slots + 3):
            bare.queue_workload(self.make_workload(f"t{number}"))
        bare.heartbeat()
        bare.heartbeat()
        assert len(launched) == slots, f"{len(launched)} launches on {slots} slots"
        assert (bare.slots_available, len(bare.queued_tasks)) == (0, 3), "the rest has to stay queued"

    def test_slot_is_occupied_until_the_event_is_taken(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 1)
        for name in ("first", "second"):
            bare.queue_workload(self.make_workload(name))
        bare.heartbeat()
        bare.success(launched[0])
        bare.heartbeat()
        assert len(launched) == 1, "a slot was used again before the event was taken"
        assert [type(event) for event in bare.get_event_buffer()] == [Succeeded]
        bare.heartbeat()
        assert len(launched) == 2, "taking the event did not free the slot"

    def test_priority_goes_first_then_age(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 1)
        wanted = [self.make_workload(name, priority_weight=weight) for name, weight in (("a", 9), ("b", 5), ("c", 5))]
        for workload in (wanted[1], wanted[2], wanted[0]):
            bare.queue_workload(workload)
        for _ in wanted:
            bare.heartbeat()
            bare.success(launched[-1])
            bare.get_event_buffer()
        assert launched == [workload.key for workload in wanted], "highest priority first, then oldest first"

    # -- identity

    def test_older_form_of_queueing(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 1)
        refs = [TaskInstanceRef(self.make_workload(name).key, queue="theirs") for name in ("low", "high")]
        for priority, ref in enumerate(refs):
            bare.queue_command(ref, ["true", str(priority)], priority=priority)
        bare.heartbeat()
        assert launched == [refs[1].key], "priority counts"
        workload = bare.workload(refs[1].key)
        assert (list(workload.command), workload.queue) == (["true", "1"], "theirs")

    def test_same_workload_twice_is_one(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 4)
        workload = self.make_workload()
        bare.queue_workload(workload)
        bare.queue_workload(workload)
        bare.heartbeat()
        bare.queue_workload(workload)
        bare.heartbeat()
        assert launched == [workload.key], "one attempt was launched more than once"

    def test_two_attempts_of_one_try_are_two(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 0)
        old, new = self.make_workload(), self.make_workload()
        assert list(old.key) == list(new.key)
        bare.queue_workload(old)
        bare.revoke_task(TaskInstanceRef(old.key))
        bare.queue_workload(new)
        bare.heartbeat()
        bare.success(old.key)
        assert bare.get_event_buffer() == [], "a late event of an old attempt was credited to the new one"
        assert bare.has_task(TaskInstanceRef(new.key))
        assert not bare.has_task(TaskInstanceRef(old.key))

    def test_has_task_while_queued_and_running_only(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 1)
        workload = self.make_workload()
        ref = TaskInstanceRef(workload.key)
        seen = [bare.has_task(ref)]
        bare.queue_workload(workload)
        seen.append(bare.has_task(ref))
        bare.heartbeat()
        seen.append(bare.has_task(ref))
        bare.fail(workload.key)
        seen.append(bare.has_task(ref))
        assert seen == [False, True, True, False], "has_task: before, queued, running, ended"

    # -- events

    def test_each_report_is_its_event(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 0)
        key = self.make_workload().key
        reports = (bare.accepted, bare.pending, bare.running_state, bare.unknown, bare.success, bare.fail, bare.lost)
        for report in reports:
            bare.queue_workload(self.make_workload(key=key))
            report(key, "why")
        kinds = (Accepted, Pending, Running, Unknown, Succeeded, Failed, Lost)
        assert bare.get_event_buffer() == [kind(key, "why") for kind in kinds], "a report gave the wrong event"

    def test_certain_ends_say_so_and_waiting_keeps_the_slot(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 1)
        workload = self.make_workload()
        bare.queue_workload(workload)
        bare.heartbeat()
        bare.pending(workload.key, "no room")
        bare.pending(workload.key)
        assert bare.get_event_buffer() == [Pending(workload.key, "no room"), Pending(workload.key)]
        assert bare.slots_available == 0, "what waits at the backend has a slot"
        certain = ((bare.fail, Failed(workload.key, "x", ended=True)), (bare.lost, Lost(workload.key, "x", ended=True)))
        for report, event in certain:
            bare.queue_workload(workload)
            report(workload.key, "x", ended=True)
            assert bare.get_event_buffer() == [event], "the proof that nothing runs any more got lost"

    def test_airflows_words_are_understood_and_no_others(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 0)
        workload = self.make_workload()
        bare.queue_workload(workload)
        for word in ("queued", "running", "failed"):
            bare.change_state(workload.key, word)
        assert [type(event) for event in bare.get_event_buffer()] == [Accepted, Running, Failed]
        assert _raised(lambda: bare.change_state(workload.key, "skipped"), ValueError), (
            "an executor knows no task state"
        )

    def test_event_filter_keeps_the_rest(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 0)
        mine, other = self.make_workload(), self.make_workload(dag_id="other")
        for workload in (mine, other):
            bare.queue_workload(workload)
            bare.success(workload.key)
        assert _keys(bare.get_event_buffer(["contract"])) == [mine.key]
        assert _keys(bare.get_event_buffer(["nobody"])) == []
        assert _keys(bare.get_event_buffer()) == [other.key]
        assert bare.get_event_buffer() == []

    def test_late_and_repeated_ends_are_dropped(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 2)
        workload = self.make_workload()
        bare.success(workload.key)
        assert (bare.get_event_buffer(), bare.slots_occupied) == ([], 0), "the end of an unknown attempt was reported"
        bare.queue_workload(workload)
        bare.heartbeat()
        bare.success(workload.key)
        bare.fail(workload.key)
        assert [type(event) for event in bare.get_event_buffer()] == [Succeeded], "an attempt ended twice"

    # -- trouble

    def test_sync_that_raises_loses_nothing(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 2)
        for number in range(bare.slots_available):
            bare.queue_workload(self.make_workload(f"t{number}"))
        bare.heartbeat()
        _replace(bare, "sync", _raise)
        assert _raised(bare.heartbeat), "what sync raised has to reach the host"
        bare.success(launched[0])
        assert set(launched[1:]) == set(bare.running), "a failed poll is no failed task"
        assert _keys(bare.get_event_buffer()) == launched[:1]

    def test_launch_that_raises_fails_alone_in_the_end(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 2)
        bad, good = self.make_workload("bad", priority_weight=9), self.make_workload("good")
        _replace(bare, "execute_async", lambda key, *_: _raise() if key == bad.key else launched.append(key))
        for workload in (bad, good):
            bare.queue_workload(workload)
        raised, failed = 0, []
        for _ in range(2 * LAUNCH_ATTEMPTS):
            raised += _raised(bare.heartbeat) is not None
            failed += [event.key for event in bare.get_event_buffer() if isinstance(event, Failed)]
            if good.key in bare.running:
                bare.success(good.key)
        assert raised == LAUNCH_ATTEMPTS - 1, "what execute_async raised has to reach the host, but for the last time"
        assert failed == [bad.key], "a launch that always raises has to fail, once"
        assert launched == [good.key], "one bad launch kept another from starting"

    def test_revoked_work_is_forgotten_without_an_event(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 1)
        queued, running = self.make_workload("queued"), self.make_workload("running", priority_weight=9)
        bare.queue_workload(queued)
        bare.queue_workload(running)
        bare.heartbeat()
        assert launched == [running.key]
        for workload in (queued, running, running):
            bare.revoke_task(TaskInstanceRef(workload.key))
            assert not bare.has_task(TaskInstanceRef(workload.key))
        assert (bare.get_event_buffer(), bare.slots_occupied) == ([], 0)

    def test_stuck_work_is_given_up_by_readable_name(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 1)
        workload = self.make_workload()
        bare.queue_workload(workload)
        assert bare.cleanup_stuck_queued_tasks([TaskInstanceRef(workload.key)]) == [str(workload.key)]
        assert not bare.has_task(TaskInstanceRef(workload.key))

    def test_heartbeat_with_a_thousand_running(self, executor: BaseExecutor) -> None:
        bare, launched = self.bare(executor, 0)
        if bare.parallelism:
            return  # it has a fixed number of slots
        workloads = [self.make_workload(f"t{number}") for number in range(1000)]
        for workload in workloads:
            bare.queue_workload(workload)
        for _ in range(3):
            bare.heartbeat()
        assert launched == [workload.key for workload in workloads], "each of 1,000 is launched once, oldest first"
        assert all(bare.has_task(TaskInstanceRef(workload.key)) for workload in workloads)
        assert bare.get_event_buffer() == [], "running attempts ended by being looked at"

    # -- what it tells of itself

    def test_metrics_bear_its_name(self, executor: BaseExecutor) -> None:
        for name, shown in (("east", "east"), ("their.module.Executor", "Executor")):
            stats = RecordedStats()
            bare, _ = self.bare(executor, 2, stats=stats, name=name)
            for number in range(bare.slots_available + 3):
                bare.queue_workload(self.make_workload(f"t{number}"))
            bare.heartbeat()
            bare.heartbeat()
            expected = {
                f"executor.open_slots.{shown}": 0,
                f"executor.queued_slots.{shown}": 3,
                f"executor.queued_tasks.{shown}": 3,
                f"executor.running_tasks.{shown}": len(bare.running),
            }
            assert {key: stats.gauges.get(key) for key in expected} == expected, "gauges of each heartbeat"

    def test_callback_request_reaches_the_sink_as_json(self, executor: BaseExecutor) -> None:
        sent: list[str] = []
        bare, _ = self.bare(executor, 1, callback_sink=sent.append)
        request = CallbackRequest(self.make_workload().key, "task_retry", "why")
        bare.send_callback(request)
        assert sent == [request.to_json()], "the sink takes JSON"
        for rubbish in ("task_failure", {"kind": "task_failure"}, None):
            assert _raised(lambda rubbish=rubbish: bare.send_callback(rubbish), ValueError), "only a CallbackRequest"  # type: ignore[misc]

    def test_callback_without_a_sink_is_refused(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 1, callback_sink=None)
        request = CallbackRequest(self.make_workload().key)
        assert _raised(lambda: bare.send_callback(request), ValueError), "a callback request vanished"

    def test_attributes_are_what_the_host_reads(self, executor: BaseExecutor) -> None:
        cls = type(executor)
        flags = (
            "supports_pickling", "supports_sentry", "is_local", "is_single_threaded", "is_production",
            "change_sensor_mode_to_reschedule", "serve_logs", "ticket_file",
        )  # fmt: skip
        assert [name for name in flags if not isinstance(getattr(cls, name), bool)] == [], "flags are True or False"
        assert cls.conf_section is None or cls.conf_section == cls.conf_section.strip().lower() != ""

    def test_commands_are_plain_data(self, executor: BaseExecutor) -> None:
        waiting = list(type(executor).get_cli_commands())
        while waiting:
            command = waiting.pop()
            assert command.name
            assert command.name == command.name.strip()
            assert command.help, f"`{command.name}` says what it does"
            if isinstance(command, GroupCommand):
                waiting += command.subcommands
            else:
                assert isinstance(command, ActionCommand)
                assert callable(command.func)

    def test_news_from_the_host_is_welcome(self, executor: BaseExecutor) -> None:
        """What an attempt has told the host may come here twice, late, and of attempts that nobody knows."""
        bare, _ = self.bare(executor, 1)
        known, unknown = self.make_workload("known"), self.make_workload("unknown")
        bare.queue_workload(known)
        bare.heartbeat()
        for key in (known.key, unknown.key):
            for tell in (bare.started, bare.started, bare.reported, bare.reported):
                tell(key)
        events = bare.get_event_buffer()
        assert [event for event in events if event.key == unknown.key] == [], "an unknown attempt got an event"
        assert sum(isinstance(event, FINAL_EVENTS) for event in events) <= 1, "one attempt ended twice"
        assert not any(isinstance(event, Failed | Lost) for event in events), "a report is no failure"

    def test_bare_one_describes_itself_without_secrets(self, executor: BaseExecutor) -> None:
        bare, _ = self.bare(executor, 1)
        for number in range(2):
            bare.queue_workload(workload := self.make_workload(f"t{number}", env={"HYBRID_START_TICKET": "hidden"}))
            bare.heartbeat()
            assert "hidden" not in f"{bare.debug_dump()} {workload!r} {bare!r}"


def _keys(events: Sequence[ExecutorEvent]) -> list[TaskInstanceKey]:
    return [event.key for event in events]


def _replace(executor: BaseExecutor, method: str, function: Callable[..., object]) -> None:
    setattr(executor, method, function)


def _raise(*_: Any) -> None:
    raise ConnectionError("the backend is down")


def _raised(function: Callable[[], object], kind: type[Exception] = ConnectionError) -> str | None:
    """The text of the error of this ``kind``; ``None`` where nothing was raised. Without pytest, for cheap imports."""
    try:
        function()
    except kind as error:
        return str(error)
    return None
