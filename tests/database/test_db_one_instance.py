"""One task instance under any sequence of launches, reports, losses, clears and silence: design §10, 1, 2 and 4."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from executors.workload import TaskInstanceKey
from runtime.core import messages as m
from runtime.core.states import LEGAL, TASK_FINISHED, AttemptState, TaskState
from runtime.db.engine import Database
from runtime.db.runs import CreatedRun
from runtime.db.schema import event, task_attempt
from runtime.scheduler import leases, losses
from runtime.scheduler.processes import AttemptProcess
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling

OVER = {"success", "failed", "skipped", "lost"}
launches = st.integers(0, 30)


class OneInstance(RuleBasedStateMachine):
    """A real scheduler on one side; on the other, launches that start, freeze, beat and report whenever they like.

    A launch works from a granted start until it reports, is told to stop, or has heard nothing for the heartbeat
    timeout: then its supervisor has stopped it.
    """

    new_database: Callable[[], tuple[Database, Callable[[], object]]]
    """Makes one, and how to remove it."""
    local: bool

    def __init__(self) -> None:
        super().__init__()
        database, self.remove_database = self.new_database()
        self.s = Scheduling(database, {"a": 2, "b": 2}, local=["b"] if self.local else [], infra_retries=1)
        self.s.plan(t="wait")
        self.run: CreatedRun = self.s.begin_run(
            spec("d", task("t", retries=1, retry_delay=30.0, executor="b", executor_source="task"))
        )
        self.keys: list[TaskInstanceKey] = []
        """Every launch that the executor was asked for, once for each time."""
        self.working: dict[int, tuple[str, int]] = {}
        """Launches that execute user code now, as far as they know: attempt, moment of the last acknowledgement."""
        self.over: dict[str, Any] = {}
        """Attempts as they were when they ended."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(losses, "kill_attempts", self._kill)

    def teardown(self) -> None:
        self.patch.undo()
        self.s.close()
        self.s.database.close()
        self.remove_database()

    # -- the scheduler and the world around it

    @rule(seconds=st.sampled_from([0, 1, 5, 20, 45]))
    def time_passes(self, seconds: int) -> None:
        self.s.forward(seconds)
        self._stop_silent()
        self.s.step(2)

    @rule()
    def step_without_time(self) -> None:
        self.s.step()

    @rule(ok=st.booleans(), which=launches)
    @precondition(lambda self: self.keys)
    def executor_says_it_is_gone(self, ok: bool, which: int) -> None:
        """True where no launch of the attempt works any more: executors tell no lies, but may be late."""
        key = self.keys[which % len(self.keys)]
        if not any(attempt == key.attempt_id for attempt, _ in self.working.values()):
            (self.s.executors["b"].lost if ok else self.s.executors["b"].fail)(key, "gone")
            self.s.turn()

    @rule(only_failed=st.booleans())
    def somebody_clears(self, only_failed: bool) -> None:
        self.s.clear("d", only_failed=only_failed)
        self.over.clear()

    @rule()
    def scheduler_dies(self) -> None:
        """Its local attempts die with it, its remote ones do not."""
        if self.local:
            self.working.clear()
        with self.s.database.write() as connection:
            leases.end(connection, self.s.me.id)
        self.s.begin_scheduler()
        self.s.step()

    # -- launches

    @rule(which=launches)
    @precondition(lambda self: self.keys)
    def launch_asks_for_its_start(self, which: int) -> None:
        number = which % len(self.keys)
        key = self.keys[number]
        reply = self.s.start(key.attempt_id, f"launch {number}")
        if reply.granted:
            assert reply.context is not None
            assert reply.context.executor == "b"
            self.working[number] = (key.attempt_id, self.s.at)
        assert len({attempt for attempt, _ in self.working.values()}) == len(self.working) <= 1, "two run at once"

    @rule(which=launches)
    @precondition(lambda self: self.keys)
    def launch_beats(self, which: int) -> None:
        number = which % len(self.keys)
        (reply,) = self.s.ask(m.Heartbeat(self.keys[number].attempt_id, f"launch {number}"))
        if not reply.go_on:
            self.working.pop(number, None)
        elif number in self.working:
            self.working[number] = (self.keys[number].attempt_id, self.s.at)

    @rule(which=launches, outcome=st.sampled_from(["success", "failed", "skipped"]), retry=st.booleans())
    @precondition(lambda self: self.keys)
    def launch_reports(self, which: int, outcome: str, retry: bool) -> None:
        """Also one that was frozen, or never granted anything."""
        number = which % len(self.keys)
        key = self.keys[number]
        before = self.s.attempt(key.attempt_id)
        worked = self.working.pop(number, None)
        reply = self.s.finish(key.attempt_id, outcome, f"launch {number}", retry=retry, retry_delay=10.0)
        if reply.accepted:
            assert before.start_nonce == f"launch {number}"
            assert before.state in {"running", outcome}
        elif worked:
            assert before.state in OVER, "a launch that works was refused"
        if worked:
            self.s.executors["b"].success(key)
            self.s.turn()

    # -- what must hold

    @invariant()
    def launches_are_collected(self) -> None:
        new = self.s.executors["b"].launched
        self.keys += new
        new.clear()
        assert not self.s.executors["a"].launched, "a queued or running attempt stays with its executor"

    @invariant()
    def committed_state_is_consistent(self) -> None:
        self.s._check_attempts()
        assert {a.executor for a in self.s.rows(task_attempt)} <= {"b"}

    @invariant()
    def what_is_over_stays_as_it_was(self) -> None:
        for row in self.s.rows(task_attempt, task_attempt.c.state.in_(sorted(OVER))):
            assert self.over.setdefault(row.id, row) == row

    @invariant()
    def success_comes_from_a_report(self) -> None:
        for row in self.s.rows(task_attempt, task_attempt.c.state == AttemptState.SUCCESS):
            assert row.start_nonce is not None

    @invariant()
    def events_are_legal_and_without_gaps(self) -> None:
        story = self.s.rows(event, event.c.task_instance_id.is_not(None))
        state = "none"
        for row in story:
            assert row.old_state == state
            assert TaskState(row.new_state) in LEGAL[TaskState(row.old_state)]
            state = row.new_state
            if TaskState(row.old_state) in TASK_FINISHED:
                assert row.actor == "clear"
        if story:
            assert self.s.ti("t").state == state

    @invariant()
    def who_works_is_the_current_attempt(self) -> None:
        """Nothing new is dispatched while something works: quiescence."""
        for attempt, _ in self.working.values():
            assert self.s.ti("t").attempt_id == attempt

    def _kill(self, processes: Sequence[AttemptProcess]) -> set[str]:
        """What SIGKILL does to launches on this host."""
        wanted = {process.attempt_id for process in processes}
        killed = {number: attempt for number, (attempt, _) in self.working.items() if attempt in wanted}
        for number in killed:
            del self.working[number]
        return set(killed.values())

    def _stop_silent(self) -> None:
        """Supervisors kill what nobody has acknowledged for too long."""
        for number, (_, heard) in list(self.working.items()):
            if self.s.at - heard > 55_000_000:
                del self.working[number]


@pytest.fixture
def new_database(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path
) -> Callable[[], tuple[Database, Callable[[], object]]]:
    """For each example one of its own: they do not know of each other's runs."""

    def new() -> tuple[Database, Callable[[], object]]:
        if kind == "postgresql":
            server = request.getfixturevalue("postgres")
            url = server.create()
            return Database(url), lambda: server.drop(url)
        path = tmp_path / "machine.db"
        shutil.copy(migrated_file, path)
        return Database(f"sqlite:///{path}"), path.unlink

    return new


@pytest.mark.parametrize("local", [False, True], ids=["remote", "local"])
def test_one_instance(
    kind: str, new_database: Callable[[], tuple[Database, Callable[[], object]]], local: bool
) -> None:
    machine = type("OneInstance", (OneInstance,), {"new_database": staticmethod(new_database), "local": local})
    options = settings(
        max_examples=20 if kind == "sqlite" else 6,
        stateful_step_count=25,
        deadline=None,
        # No shrinking: an example takes a tenth of a second, and the story of a failure is told by its events.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=options)
