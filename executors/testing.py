"""For tests of executors and of their hosts: a scripted executor, and the contract that every executor keeps.

A third party's whole test file for the contract::

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def executor(self):
            made = MyExecutor(parallelism=2)
            made.start()
            yield made
            made.terminate()
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from executors.base import LAUNCH_ATTEMPTS, BaseExecutor
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError
from executors.events import Accepted, ExecutorEvent, Failed, Lost, Running, Succeeded, Unknown
from executors.workload import CodeReference, TaskInstanceKey, TaskInstanceRef, Workload


class Hang:
    """One scripted hang. Wait for ``entered`` to know that the executor is stuck; set ``released`` to let it go on."""

    def __init__(self, seconds: float | None) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self._seconds = seconds

    def wait(self) -> None:
        self.entered.set()
        self.released.wait(self._seconds)


class ScriptedExecutor(BaseExecutor):
    """Runs nothing, in memory, and does what it was told to: hang, raise, succeed at once, or wait for :meth:`finish`.

    From code: :meth:`hang`, :meth:`raises`, :meth:`finish` and the attribute ``instant``; these are thread-safe. From
    ``[scripted_executor]``: ``instant = true``; ``hang_in`` (a method) and ``hang_sec`` (30; each call hangs);
    ``raise_in`` (a method) and ``raise_times`` (0: always). Methods are ``constructor`` and those that ``calls`` shows.
    """

    is_production: ClassVar[bool] = False
    conf_section: ClassVar[str | None] = "scripted_executor"

    def __init__(self, parallelism: int = 32, *, context: ExecutorContext | None = None) -> None:
        super().__init__(parallelism, context=context)
        self.calls: deque[tuple[str, TaskInstanceKey | None]] = deque(maxlen=10_000)
        """(method, key) of each call, oldest first."""
        self.instant = self.context.text("instant", "false", ("true", "false")) == "true"
        """Each launch ends successfully at once."""
        self._hangs: dict[str, Hang] = {}
        self._errors: dict[str, tuple[Exception, int | None]] = {}
        self._finished: deque[tuple[TaskInstanceKey, bool, str | None]] = deque()
        self._read_script()
        self._act("constructor")

    def hang(self, method: str, seconds: float | None = None) -> Hang:
        """Every call of ``method`` waits, at most ``seconds``, until ``released`` is set."""
        self._hangs[method] = hang = Hang(seconds)
        return hang

    def raises(self, method: str, error: Exception | None = None, times: int | None = None) -> None:
        """The next ``times`` calls of ``method`` raise (``None``: all; 0: no more)."""
        self._errors[method] = (error or RuntimeError(f"scripted in {method}"), times)

    def finish(self, key: TaskInstanceKey, ok: bool = True, info: str | None = None) -> None:
        """The next :meth:`sync` reports this end; asks the host for a heartbeat."""
        self._finished.append((key, ok, info))
        self.context.wake()

    def start(self) -> None:
        self._act("start")

    def heartbeat(self) -> None:
        self._act("heartbeat")
        super().heartbeat()

    def execute_async(
        self,
        key: TaskInstanceKey,
        command: Sequence[str],
        queue: str | None = None,
        executor_config: Any | None = None,
    ) -> None:
        self._act("execute_async", key)
        if self.instant:
            self.success(key)

    def sync(self) -> None:
        self._act("sync")
        while self._finished:
            key, ok, info = self._finished.popleft()
            (self.success if ok else self.fail)(key, info)

    def try_adopt_task_instances(self, tis: Sequence[TaskInstanceRef]) -> Sequence[TaskInstanceRef]:
        self._act("try_adopt_task_instances")
        return super().try_adopt_task_instances(tis)

    def revoke_task(self, ti: TaskInstanceRef) -> None:
        self._act("revoke_task", ti.key)
        super().revoke_task(ti)

    def end(self) -> None:
        self._act("end")
        super().end()

    def terminate(self) -> None:
        self._act("terminate")

    def _read_script(self) -> None:
        if method := self.context.text("hang_in", ""):
            self.hang(method, self.context.integer("hang_sec", 30))
        if method := self.context.text("raise_in", ""):
            self.raises(method, times=self.context.integer("raise_times", 0) or None)

    def _act(self, method: str, key: TaskInstanceKey | None = None) -> None:
        self.calls.append((method, key))
        if method in self._hangs:
            self._hangs[method].wait()
        error, times = self._errors.get(method, (None, 0))
        if error is None or times == 0:
            return
        self._errors[method] = (error, None if times is None else times - 1)
        raise error


class ExecutorContract:
    """Inherit it in a test module and give the fixture ``executor``: started, finite ``parallelism``, torn down by you.

    Most tests look at :meth:`bare`, an executor of the same class that is not started and has no backend. Where yours
    needs more for that, or another command than ``true``, set ``bare_members`` or override :meth:`make_workload`.
    """

    bare_members: ClassVar[Mapping[str, Any]] = {}
    """What else to replace in a bare executor, besides ``execute_async`` and ``sync``."""

    def make_workload(self, task_id: str = "task", dag_id: str = "contract", **fields: Any) -> Workload:
        """A workload under an attempt id of its own."""
        key = TaskInstanceKey(dag_id, task_id, "contract_run", attempt_id=str(uuid.uuid4()))
        return Workload(**{"key": key, "command": ("true",), "code": CodeReference("contract.py", "0"), **fields})

    def bare(self, executor: BaseExecutor, parallelism: int) -> tuple[BaseExecutor, list[TaskInstanceKey]]:
        """An executor of the same class whose launches go into the list that is returned with it."""
        launched: list[TaskInstanceKey] = []

        def execute_async(_: BaseExecutor, key: TaskInstanceKey, *_args: Any, **_options: Any) -> None:
            launched.append(key)

        own = {"execute_async": execute_async, "sync": lambda _: None, **self.bare_members}
        made: BaseExecutor = type(type(executor).__name__, (type(executor),), own)(
            parallelism, context=executor.context
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
        reports = (bare.accepted, bare.running_state, bare.unknown, bare.success, bare.fail, bare.lost)
        for report in reports:
            bare.queue_workload(self.make_workload(key=key))
            report(key, "why")
        kinds = (Accepted, Running, Unknown, Succeeded, Failed, Lost)
        assert bare.get_event_buffer() == [kind(key, "why") for kind in kinds], "a report gave the wrong event"

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

    def test_callback_without_a_sink_is_refused(self, executor: BaseExecutor) -> None:
        if executor.context.callback_sink is None:
            assert _raised(lambda: executor.send_callback("request"), ValueError), "a callback request vanished"

    # -- the started executor

    def test_unknown_attempts_are_not_adopted_and_twice_is_once(self, executor: BaseExecutor) -> None:
        strangers = [TaskInstanceRef(self.make_workload().key) for _ in range(2)]
        for _ in range(2):
            assert list(executor.try_adopt_task_instances(strangers)) == strangers

    def test_takes_work_and_gives_it_up(self, executor: BaseExecutor) -> None:
        workload = self.make_workload()
        ref = TaskInstanceRef(workload.key)
        executor.queue_workload(workload)
        executor.heartbeat()
        assert executor.has_task(ref) or workload.key in _keys(executor.get_event_buffer()), "the attempt vanished"
        executor.revoke_task(ref)
        executor.get_event_buffer()
        assert (executor.has_task(ref), executor.slots_occupied) == (False, 0)

    def test_describes_itself_without_secrets(self, executor: BaseExecutor) -> None:
        executor.queue_workload(workload := self.make_workload(env={"HYBRID_START_TICKET": "hidden-ticket"}))
        shown = f"{executor.debug_dump()} {workload!r} {executor!r} {executor.health_check()}"
        executor.revoke_task(TaskInstanceRef(workload.key))
        assert "hidden-ticket" not in shown
        assert all(isinstance(handle, int) for handle in executor.poll_handles())
        assert isinstance(type(executor).get_cli_commands(), list)

    def test_terminate_twice_is_once(self, executor: BaseExecutor) -> None:
        executor.terminate()
        executor.terminate()


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
