"""The part of the contract that launches real tasks and looks at what becomes of their processes."""

from __future__ import annotations

import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from executors.base import LAUNCH_ATTEMPTS, BaseExecutor
from executors.events import FINAL_EVENTS, ExecutorEvent, Failed, Lost, Succeeded
from executors.testing import deeds, resources
from executors.testing.bookkeeping import ContractBase
from executors.workload import TaskInstanceKey, TaskInstanceRef, Workload

Final = tuple[type[ExecutorEvent], ...]


@dataclass(frozen=True)
class Launch:
    """A workload, the deed that it is to do, and the folder where that leaves its notes."""

    workload: Workload
    deed: str
    folder: Path

    @property
    def key(self) -> TaskInstanceKey:
        return self.workload.key

    @property
    def ref(self) -> TaskInstanceRef:
        return TaskInstanceRef(self.key, queue=self.workload.queue)

    @property
    def has_begun(self) -> bool:
        return (self.folder / "pids").exists()

    def release(self) -> None:
        """Let a deed that waits come to its end."""
        (self.folder / "go").touch()


class LaunchContract(ContractBase):
    """By default a launch is a command on this host. For others override :meth:`command_workload`, which says how a
    deed is launched, and :meth:`processes`, which says what of it still runs.
    """

    deadline: ClassVar[float] = 30.0
    """Seconds that anything may take."""
    outcomes: ClassVar[Mapping[str, Final]] = {
        "succeed": (Succeeded,),
        "fail": (Failed,),
        "die": (Failed, Lost),
        "flood": (Succeeded,),
        "no such command": (Failed,),
    }
    """Deed → the events that may tell of its end. Leave one out to leave out its test."""
    adopts: ClassVar[bool] = False
    """Whether another instance of the class takes over what this one launched."""

    # -- to override where launches are no commands on this host

    def command_workload(self, deed: str, folder: Path, **fields: Any) -> Workload:
        """A workload that does one of :data:`executors.testing.deeds.DEEDS`, or a command that does not exist."""
        command: tuple[str, ...] = (sys.executable, "-S", deeds.__file__, deed, str(folder))
        if deed not in deeds.DEEDS:
            command = (str(folder / deed),)
        return self.make_workload(deed.replace(" ", "_"), **{"command": command, **fields})

    def processes(self, executor: BaseExecutor, launch: Launch) -> Sequence[object]:
        """What of the launch runs now, in whatever form; empty before it began and after it ended."""
        with suppress(FileNotFoundError):
            pids = [int(line) for line in (launch.folder / "pids").read_text().split()]
            return [pid for pid in pids if resources.is_alive(pid)]
        return ()

    def another(self, executor: BaseExecutor, parallelism: int = 2) -> BaseExecutor:
        """A started executor of the same kind."""
        made = type(executor)(parallelism, context=executor.context)
        made.start()
        return made

    def beat(self, executor: BaseExecutor) -> list[ExecutorEvent]:
        """What a host does: a heartbeat as soon as a handle is readable, or after a moment; the events."""
        select.select(list(executor.poll_handles()), [], [], 0.01)
        executor.heartbeat()
        return executor.get_event_buffer()

    # -- what the tests are made of

    def launch(self, folder: Path, deed: str, **fields: Any) -> Launch:
        """Prepare a launch; nothing happens yet."""
        own = folder / f"{deed.replace(' ', '_')}-{len(list(folder.iterdir()))}"
        own.mkdir()
        return Launch(self.command_workload(deed, own, **fields), deed, own)

    def drive(self, executor: BaseExecutor, condition: Callable[[], object], what: str) -> list[ExecutorEvent]:
        """Heartbeats until ``condition``; the events."""
        events: list[ExecutorEvent] = []
        deadline = time.monotonic() + self.deadline
        while not condition():
            assert time.monotonic() < deadline, f"not within {self.deadline:g} s: {what}\n{executor.debug_dump()}"
            events += self.beat(executor)
        return events

    def run_to_end(self, executor: BaseExecutor, *launches: Launch) -> dict[TaskInstanceKey, ExecutorEvent]:
        """Queue them and return the one final event of each; afterwards nothing is queued or running."""
        for launch in launches:
            executor.queue_workload(launch.workload)
        wanted = {launch.key for launch in launches}
        events: list[ExecutorEvent] = []
        deadline = time.monotonic() + self.deadline
        while not wanted <= {event.key for event in events if isinstance(event, FINAL_EVENTS)}:
            assert time.monotonic() < deadline, f"not ended after {self.deadline:g} s\n{executor.debug_dump()}"
            events += self.beat(executor)
        for _ in range(3):
            events += self.beat(executor)
        finals = [event for event in events if isinstance(event, FINAL_EVENTS)]
        assert sorted(map(_attempt, finals)) == sorted(key.attempt_id for key in wanted), "one end for each attempt"
        assert not any(executor.has_task(launch.ref) for launch in launches), "an attempt that ended is still there"
        return {event.key: event for event in finals}

    def begin(self, executor: BaseExecutor, *launches: Launch) -> None:
        """Queue them and wait until each runs."""
        for launch in launches:
            executor.queue_workload(launch.workload)
        self.drive(executor, lambda: all(self.processes(executor, launch) for launch in launches), "tasks run")

    def wait_until_gone(self, executor: BaseExecutor, *launches: Launch, beat: bool = False) -> list[ExecutorEvent]:
        """Until nothing of the launches runs; fails after the deadline."""
        events: list[ExecutorEvent] = []
        deadline = time.monotonic() + self.deadline
        while left := [found for launch in launches for found in self.processes(executor, launch)]:
            assert time.monotonic() < deadline, f"still running after {self.deadline:g} s: {left}"
            if beat:
                events += self.beat(executor)
            else:
                select.select([], [], [], 0.01)
        return events

    @contextmanager
    def other(self, executor: BaseExecutor, parallelism: int = 2) -> Iterator[BaseExecutor]:
        """:meth:`another`, terminated in the end."""
        made = self.another(executor, parallelism)
        try:
            yield made
        finally:
            made.terminate()

    # -- how tasks end

    def test_task_that_succeeds(self, executor: BaseExecutor, tmp_path: Path) -> None:
        self._expect(executor, tmp_path, "succeed")

    def test_task_that_fails(self, executor: BaseExecutor, tmp_path: Path) -> None:
        event = self._expect(executor, tmp_path, "fail")
        assert not isinstance(event, Failed) or event.reason, "a failure has a reason that a person can read"

    def test_task_that_is_killed(self, executor: BaseExecutor, tmp_path: Path) -> None:
        self._expect(executor, tmp_path, "die")

    def test_task_that_floods_its_output(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Output that nobody reads must hold up neither the task nor the executor."""
        self._expect(executor, tmp_path, "flood")

    def test_command_that_cannot_be_run(self, executor: BaseExecutor, tmp_path: Path) -> None:
        if "no such command" not in self.outcomes:
            return
        launch = self.launch(tmp_path, "no such command")
        executor.queue_workload(launch.workload)
        events: list[ExecutorEvent] = []
        deadline = time.monotonic() + self.deadline
        raised = 0
        while launch.key not in {event.key for event in events if isinstance(event, FINAL_EVENTS)}:
            assert time.monotonic() < deadline, f"not given up after {self.deadline:g} s"
            try:
                events += self.beat(executor)
            except Exception:
                raised += 1
                assert raised < LAUNCH_ATTEMPTS, "a launch that always raises is tried for ever"
                events += executor.get_event_buffer()
        (event,) = [event for event in events if isinstance(event, FINAL_EVENTS)]
        assert isinstance(event, self.outcomes["no such command"]), f"{event}"

    def test_more_tasks_than_slots_all_end(self, executor: BaseExecutor, tmp_path: Path) -> None:
        with self.other(executor) as busy:
            launches = [self.launch(tmp_path, "succeed") for _ in range(5)]
            ends = self.run_to_end(busy, *launches)
            assert [type(ends[launch.key]) for launch in launches] == [Succeeded] * 5
            assert busy.slots_occupied == 0, "slots leaked"

    def test_running_task_stays_running(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Being looked at ends nothing, and one that ends leaves the others alone."""
        with self.other(executor, 0) as free:
            if free.parallelism == 1:
                return
            waiting = self.launch(tmp_path, "wait")
            self.begin(free, waiting)
            ends = self.run_to_end(free, self.launch(tmp_path, "succeed"))
            assert waiting.key not in ends
            assert free.has_task(waiting.ref)
            assert self.processes(free, waiting)
            waiting.release()
            events = self.drive(free, lambda: not free.has_task(waiting.ref), "the end of the released task")
            assert [type(event) for event in events if isinstance(event, FINAL_EVENTS)] == [Succeeded]

    # -- stopping

    def test_revoked_running_task_is_stopped(self, executor: BaseExecutor, tmp_path: Path) -> None:
        self._revoke_running(executor, self.launch(tmp_path, "wait"))

    def test_revoked_task_that_ignores_sigterm_is_stopped(self, executor: BaseExecutor, tmp_path: Path) -> None:
        self._revoke_running(executor, self.launch(tmp_path, "stubborn"))

    def test_revoked_queued_task_never_starts(self, executor: BaseExecutor, tmp_path: Path) -> None:
        with self.other(executor, 1) as narrow:
            first, second, third = (self.launch(tmp_path, deed) for deed in ("wait", "succeed", "succeed"))
            self.begin(narrow, first)
            narrow.queue_workload(second.workload)
            narrow.revoke_task(second.ref)
            first.release()
            self.drive(narrow, lambda: not narrow.has_task(first.ref), "the end of the released task")
            ends = self.run_to_end(narrow, third)
            assert isinstance(ends.get(third.key), Succeeded)
            assert not second.has_begun, "a revoked attempt was launched"

    def test_stuck_task_is_given_up_and_stopped(self, executor: BaseExecutor, tmp_path: Path) -> None:
        stuck = self.launch(tmp_path, "wait")
        self.begin(executor, stuck)
        assert executor.cleanup_stuck_queued_tasks([stuck.ref]) == [str(stuck.key)]
        assert not executor.has_task(stuck.ref)
        self.wait_until_gone(executor, stuck, beat=True)

    def test_terminate_stops_everything(self, executor: BaseExecutor, tmp_path: Path) -> None:
        with self.other(executor) as doomed:
            running = [self.launch(tmp_path, deed) for deed in ("wait", "stubborn")[: max(1, doomed.parallelism)]]
            queued = self.launch(tmp_path, "succeed", priority_weight=0)
            self.begin(doomed, *running)
            if doomed.parallelism:
                doomed.queue_workload(queued.workload)
            doomed.terminate()
            self.wait_until_gone(doomed, *running)
            assert not queued.has_begun, "what was queued was launched by terminate()"
            assert not [event for event in doomed.get_event_buffer() if isinstance(event, Succeeded)]

    def test_terminate_right_after_a_launch(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Before the launched process has begun to execute what it was launched for."""
        self._terminate_with_nothing_left(executor, tmp_path, lambda doomed: doomed.heartbeat())

    def test_terminate_within_a_launch(self, executor: BaseExecutor, tmp_path: Path) -> None:
        def heartbeat(doomed: BaseExecutor) -> None:
            launch = doomed.execute_async

            def interrupted(*args: Any, **options: Any) -> None:
                launch(*args, **options)
                doomed.terminate()

            doomed.execute_async = interrupted  # type: ignore[method-assign]
            with suppress(Exception):
                doomed.heartbeat()

        self._terminate_with_nothing_left(executor, tmp_path, heartbeat)

    def test_end_drains(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Also what is queued beyond the slots, although nobody takes events meanwhile."""
        with self.other(executor) as ending:
            launches = [self.launch(tmp_path, "succeed") for _ in range(4)]
            for launch in launches:
                ending.queue_workload(launch.workload)
            ending.heartbeat()
            ending.end()
            finals = [event for event in ending.get_event_buffer() if isinstance(event, FINAL_EVENTS)]
            assert Counter(type(event) for event in finals) == {Succeeded: 4}, (
                "end() finishes what is queued and running"
            )
            assert (len(ending.queued_tasks), len(ending.running)) == (0, 0)

    def test_terminate_twice_is_once(self, executor: BaseExecutor) -> None:
        executor.terminate()
        executor.terminate()

    def test_nothing_is_left_after_terminate(self, executor: BaseExecutor, tmp_path: Path) -> None:
        def cycle() -> None:
            with self.other(executor) as brief:
                self.run_to_end(brief, self.launch(tmp_path, "succeed"), self.launch(tmp_path, "fail"))
                revoked, running = self.launch(tmp_path, "wait"), self.launch(tmp_path, "wait")
                self.begin(brief, revoked)
                brief.revoke_task(revoked.ref)
                self.begin(brief, running)

        self._expect_no_leak(cycle)

    def test_nothing_is_left_after_end(self, executor: BaseExecutor, tmp_path: Path) -> None:
        def cycle() -> None:
            with self.other(executor) as brief:
                for _ in range(3):
                    brief.queue_workload(self.launch(tmp_path, "succeed").workload)
                brief.heartbeat()
                brief.end()
                brief.get_event_buffer()

        self._expect_no_leak(cycle)

    # -- the started executor

    def test_adoption_returns_what_it_does_not_hold(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Its own, one of another executor's, and one that nobody knows; twice is once."""
        own = self.launch(tmp_path, "wait")
        self.begin(executor, own)
        foreign = TaskInstanceRef(
            self.make_workload("foreign").key, external_executor_id="someone/else:1", started=True
        )
        unknown = TaskInstanceRef(self.make_workload("unknown").key)
        offered = [own.ref, foreign, unknown]
        for _ in range(2):
            left = list(executor.try_adopt_task_instances(list(offered)))
            assert foreign in left, "an attempt of another executor was adopted"
            assert unknown in left, "an attempt that nobody knows was adopted"
            assert [ref for ref in left if ref not in offered] == [], "attempts came back that were not offered"
            assert executor.has_task(own.ref), "what runs here was forgotten"
            kept = [ref for ref in (foreign, unknown) if executor.has_task(ref)]
            assert kept == [], "returned, and kept all the same"
        executor.revoke_task(own.ref)
        self.wait_until_gone(executor, own, beat=True)

    def test_successor_adopts(self, executor: BaseExecutor, tmp_path: Path) -> None:
        """Where ``adopts`` says so, a new instance sees the end of what a dead one launched; else it returns it all."""
        own = self.launch(tmp_path, "wait")
        executor.queue_workload(own.workload)
        events = self.drive(executor, lambda: self.processes(executor, own), "the task runs")
        ids = [event.external_id for event in events if event.key == own.key and hasattr(event, "external_id")]
        ref = TaskInstanceRef(own.key, external_executor_id=ids[-1] if ids else None, started=True)
        with self.other(executor) as heir:
            left = list(heir.try_adopt_task_instances([ref]))
            assert (left == [ref]) is (not self.adopts) is (not heir.has_task(ref))
            if self.adopts:
                own.release()
                ends = self.drive(heir, lambda: not heir.has_task(ref), "the end of what was adopted")
                assert [type(event) for event in ends if isinstance(event, FINAL_EVENTS)] == [Succeeded]
        executor.revoke_task(own.ref)
        self.wait_until_gone(executor, own, beat=True)

    def test_describes_itself_without_secrets(self, executor: BaseExecutor, tmp_path: Path) -> None:
        launch = self.launch(tmp_path, "wait", env={"HYBRID_START_TICKET": "hidden-ticket"})
        self.begin(executor, launch)
        shown = f"{executor.debug_dump()} {launch.workload!r} {executor!r} {executor.health_check()}"
        messages, logs = self._task_log(executor, launch.ref)
        assert all(isinstance(text, str) for text in [*messages, *logs]), "a log is (messages, logs), lists of texts"
        shown += f"{messages} {logs}"
        executor.revoke_task(launch.ref)
        self.wait_until_gone(executor, launch, beat=True)
        assert "hidden-ticket" not in shown
        assert all(type(handle) is int and handle >= 0 for handle in executor.poll_handles()), "handles are descriptors"

    def _expect(self, executor: BaseExecutor, folder: Path, deed: str) -> ExecutorEvent:
        launch = self.launch(folder, deed)
        event = self.run_to_end(executor, launch)[launch.key]
        assert isinstance(event, self.outcomes[deed]), f"a task that should {deed} gave {event}"
        assert executor.slots_occupied == 0, "slots leaked"
        self.wait_until_gone(executor, launch)
        return event

    def _task_log(self, executor: BaseExecutor, ref: TaskInstanceRef) -> tuple[list[str], list[str]]:
        try:
            return executor.get_task_log(ref, 1)
        except Exception:
            return [], []  # it may raise

    def _revoke_running(self, executor: BaseExecutor, launch: Launch) -> None:
        self.begin(executor, launch)
        executor.revoke_task(launch.ref)
        executor.revoke_task(launch.ref)
        assert (executor.has_task(launch.ref), executor.slots_occupied) == (False, 0), (
            "a revoked attempt keeps its slot"
        )
        events = self.wait_until_gone(executor, launch, beat=True)
        for _ in range(3):
            events += self.beat(executor)
        assert [event for event in events if isinstance(event, FINAL_EVENTS)] == [], "a revoked attempt gave an event"

    def _terminate_with_nothing_left(
        self, executor: BaseExecutor, folder: Path, heartbeat: Callable[[BaseExecutor], None]
    ) -> None:
        def cycle() -> None:
            with self.other(executor) as doomed:
                launches = [self.launch(folder, "wait") for _ in range(2)]
                for launch in launches:
                    doomed.queue_workload(launch.workload)
                heartbeat(doomed)
                doomed.terminate()
                self.wait_until_gone(doomed, *launches)

        self._expect_no_leak(cycle)

    def _expect_no_leak(self, cycle: Callable[[], None]) -> None:
        """Twice, so that what is loaded once and kept does not count."""
        cycle()
        before = resources.settled()
        cycle()
        deadline = time.monotonic() + self.deadline
        while leaked := resources.settled() - before:
            assert time.monotonic() < deadline, f"left behind: {dict(leaked)}"


def _attempt(event: ExecutorEvent) -> str:
    return event.key.attempt_id
