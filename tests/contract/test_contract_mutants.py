"""The contract fails whoever breaks it: executors with one deliberate fault each, and the test that sees it."""

from __future__ import annotations

import inspect
import math
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pytest
from tutorial import MyExecutor

from executors.base import BaseExecutor
from executors.cli import GroupCommand
from executors.events import Lost
from executors.testing import ExecutorContract, resources


class Impatient(ExecutorContract):
    """A mutant never does what the contract waits for; nobody should wait for it for long."""

    deadline = 1.5


class Sturdy(MyExecutor):
    """Whatever a mutant leaves behind is cleaned up by :func:`_clean`, which finds it here."""

    launched: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, parallelism=32, *, context=None):
        super().__init__(parallelism, context=context)
        self.grace = 0.3

    def execute_async(self, key, command, queue=None, executor_config=None):
        super().execute_async(key, command, queue, executor_config)
        self.launched.append(list(self.processes)[-1])


class CountsASlotTwice(Sturdy):
    @property
    def slots_occupied(self):
        return super().slots_occupied + len(self.running)


class FreesTheSlotTooEarly(Sturdy):
    @property
    def _slots_in_use(self):
        return len(self.running)


class IgnoresItsSlots(Sturdy):
    def heartbeat(self):
        self._emit_metrics()
        self.trigger_tasks(1000)
        self.sync()


class StartsTheLeastImportantFirst(Sturdy):
    def order_queued_tasks(self):
        return super().order_queued_tasks()[::-1]


class LaunchesDuplicates(Sturdy):
    def queue_workload(self, workload):
        self.running.pop(workload.key, None)
        self.queued_tasks[workload.key] = workload


class IgnoresAttempts(Sturdy):
    """Takes two attempts of one try for the same."""

    def _end(self, event):
        if key := next((key for key in self.running if tuple(key) == tuple(event.key)), None):
            event = type(event)(key)
        super()._end(event)


class ForgetsWhatRuns(Sturdy):
    def has_task(self, task_instance):
        return task_instance.key in self.queued_tasks


class ReportsTwice(Sturdy):
    def _end(self, event):
        super()._end(event)
        self._events.append(event)


class DropsEvents(Sturdy):
    def get_event_buffer(self, dag_ids=None):
        return super().get_event_buffer(dag_ids)[1:]


class IgnoresTheFilter(Sturdy):
    def get_event_buffer(self, dag_ids=None):
        return super().get_event_buffer()


class DropsWhatTheFilterLeavesOut(Sturdy):
    def get_event_buffer(self, dag_ids=None):
        taken = super().get_event_buffer(dag_ids)
        self._events.clear()
        return taken


class KnowsTaskStates(Sturdy):
    def change_state(self, key, state, info=None):
        if state != "skipped":
            super().change_state(key, state, info)


class SwallowsSyncErrors(Sturdy):
    def heartbeat(self):
        with suppress(ConnectionError):
            super().heartbeat()


class FailsTasksWhoseSyncRaised(Sturdy):
    def heartbeat(self):
        try:
            super().heartbeat()
        except ConnectionError:
            for key in list(self.running):
                self.fail(key)
            raise


class RaisesInRevoke(Sturdy):
    def revoke_task(self, ti):
        raise LookupError(ti.key)


class EmitsOnRevoke(Sturdy):
    def revoke_task(self, ti):
        self.fail(ti.key, "revoked")
        super().revoke_task(ti)


class RevokesInItsBooksOnly(Sturdy):
    def revoke_task(self, ti):
        BaseExecutor.revoke_task(self, ti)


class AsksPolitely(Sturdy):
    """SIGTERM, and nothing after it."""

    def revoke_task(self, ti):
        self.grace = 3600
        super().revoke_task(ti)
        self.grace = 0.3


class KillsTheLeaderOnly(Sturdy):
    def send(self, process, *signals):
        for signum in signals:
            process.send_signal(signum)


class RevokesOnlyWhatRuns(Sturdy):
    def revoke_task(self, ti):
        if ti.key in self.running:
            super().revoke_task(ti)


class GivesUpWithoutStopping(Sturdy):
    def cleanup_stuck_queued_tasks(self, tis):
        return [str(ti.key) for ti in tis]


class AdoptsStrangers(Sturdy):
    def try_adopt_task_instances(self, tis):
        return []


class ReturnsOthersThanItWasOffered(Sturdy):
    def try_adopt_task_instances(self, tis):
        return [*tis, ExecutorContract().make_workload()]


class TakesTheSlotOfWhatWaits(Sturdy):
    def pending(self, key, info=None):
        self.running.pop(key)
        super().pending(key, info)


class CertainOfNothing(Sturdy):
    def _end(self, event):
        super()._end(replace(event, ended=False) if isinstance(event, Lost) else event)


class AnyEndIsSuccess(Sturdy):
    def fail(self, key, info=None):
        self.success(key, info)


class FailsWithoutAReason(Sturdy):
    def fail(self, key, info=None):
        super().fail(key)


class GoneIsDone(Sturdy):
    """Success because the process is no longer there."""

    def sync(self):
        for process, (key, _) in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[process]
                self.success(key)


class ReadsNoOutput(Sturdy):
    def execute_async(self, key, command, queue=None, executor_config=None):
        self.launched.append(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
        self.processes[self.launched[-1]] = key, math.inf


class RunsInTheForeground(Sturdy):
    """Two tasks never run at once."""

    def execute_async(self, key, command, queue=None, executor_config=None):
        super().execute_async(key, command, queue, executor_config)
        try:
            self.launched[-1].wait(1.0)
        except subprocess.TimeoutExpired:
            self.launched[-1].kill()


class RetriesForEver(Sturdy):
    def _launch(self, workload):
        self._launch_failures.clear()
        super()._launch(workload)


class LeaksProcesses(Sturdy):
    def terminate(self):
        self.processes.clear()


class TerminatesTheFirstOnly(Sturdy):
    def terminate(self):
        for process in list(self.processes)[1:]:
            del self.processes[process]
        super().terminate()


class LaunchesAtTheEnd(Sturdy):
    def terminate(self):
        self.trigger_tasks(1000)


class LeavesZombies(Sturdy):
    def terminate(self):
        for process in self.processes:
            self.send(process, signal.SIGKILL)
        self.processes.clear()


class LeaksDescriptors(Sturdy):
    opened: ClassVar[list[int]] = []

    def start(self):
        self.opened.append(os.open(os.devnull, os.O_RDONLY))


class LeaksThreads(Sturdy):
    over = threading.Event()

    def start(self):
        threading.Thread(target=self.over.wait, args=(60,), name="leaked", daemon=True).start()


class DoesNotDrain(Sturdy):
    def end(self):
        self.terminate()


class EmitsNoMetrics(Sturdy):
    def _emit_metrics(self):
        pass


class EmitsUnderItsClassName(Sturdy):
    def _emit_metrics(self):
        self.name, name = type(self).__name__, self.name
        super()._emit_metrics()
        self.name = name


class ShowsSecrets(Sturdy):
    def debug_dump(self):
        return super().debug_dump() + "".join(str(dict(w.env)) for w in {**self.queued_tasks, **self.running}.values())


class DropsCallbacks(Sturdy):
    def send_callback(self, request):
        pass


class SendsAnything(Sturdy):
    def send_callback(self, request):
        self.context.callback_sink(request)


class PollsNonsense(Sturdy):
    def poll_handles(self):
        return [-1] if self.running else []


class VendsNamelessCommands(Sturdy):
    @staticmethod
    def get_cli_commands():
        return [GroupCommand("", "commands without a name")]


class LogsInOneText(Sturdy):
    def get_task_log(self, ti, try_number):
        return [], [b"not a text"]


class AcceptsNegativeParallelism(Sturdy):
    def __init__(self, parallelism=32, *, context=None):
        super().__init__(max(parallelism, 0), context=context)


class FlagsInWords(Sturdy):
    is_local = "yes"


MUTANTS = MappingProxyType(
    {
        CountsASlotTwice: "each_workload_counts_once",
        FreesTheSlotTooEarly: "slot_is_occupied_until_the_event_is_taken",
        IgnoresItsSlots: "no_more_start_than_there_are_slots",
        StartsTheLeastImportantFirst: "priority_goes_first_then_age",
        LaunchesDuplicates: "same_workload_twice_is_one",
        IgnoresAttempts: "two_attempts_of_one_try_are_two",
        ForgetsWhatRuns: "has_task_while_queued_and_running_only",
        ReportsTwice: "late_and_repeated_ends_are_dropped",
        DropsEvents: "each_report_is_its_event",
        IgnoresTheFilter: "event_filter_keeps_the_rest",
        DropsWhatTheFilterLeavesOut: "event_filter_keeps_the_rest",
        TakesTheSlotOfWhatWaits: "certain_ends_say_so_and_waiting_keeps_the_slot",
        CertainOfNothing: "certain_ends_say_so_and_waiting_keeps_the_slot",
        KnowsTaskStates: "airflows_words_are_understood_and_no_others",
        SwallowsSyncErrors: "sync_that_raises_loses_nothing",
        FailsTasksWhoseSyncRaised: "sync_that_raises_loses_nothing",
        RaisesInRevoke: "revoked_work_is_forgotten_without_an_event",
        EmitsOnRevoke: "revoked_work_is_forgotten_without_an_event",
        RevokesOnlyWhatRuns: "revoked_work_is_forgotten_without_an_event",
        RevokesInItsBooksOnly: "revoked_running_task_is_stopped",
        AsksPolitely: "revoked_task_that_ignores_sigterm_is_stopped",
        KillsTheLeaderOnly: "revoked_running_task_is_stopped",
        GivesUpWithoutStopping: "stuck_task_is_given_up_and_stopped",
        AdoptsStrangers: "adoption_returns_what_it_does_not_hold",
        ReturnsOthersThanItWasOffered: "adoption_returns_what_it_does_not_hold",
        AnyEndIsSuccess: "task_that_fails",
        FailsWithoutAReason: "task_that_fails",
        GoneIsDone: "task_that_is_killed",
        ReadsNoOutput: "task_that_floods_its_output",
        RunsInTheForeground: "running_task_stays_running",
        RetriesForEver: "command_that_cannot_be_run",
        LeaksProcesses: "terminate_right_after_a_launch",
        TerminatesTheFirstOnly: "terminate_stops_everything",
        LaunchesAtTheEnd: "terminate_stops_everything",
        LeavesZombies: "nothing_is_left_after_terminate",
        LeaksDescriptors: "nothing_is_left_after_end",
        LeaksThreads: "nothing_is_left_after_end",
        DoesNotDrain: "end_drains",
        EmitsNoMetrics: "metrics_bear_its_name",
        EmitsUnderItsClassName: "metrics_bear_its_name",
        ShowsSecrets: "describes_itself_without_secrets",
        DropsCallbacks: "callback_request_reaches_the_sink_as_json",
        SendsAnything: "callback_request_reaches_the_sink_as_json",
        PollsNonsense: "describes_itself_without_secrets",
        VendsNamelessCommands: "commands_are_plain_data",
        LogsInOneText: "describes_itself_without_secrets",
        AcceptsNegativeParallelism: "negative_parallelism_is_refused",
        FlagsInWords: "attributes_are_what_the_host_reads",
    }
)
"""Mutant → the test that must fail it."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Kill, close and end whatever the mutant of this test has left."""
    LeaksThreads.over.clear()
    yield
    LeaksThreads.over.set()
    for process in Sturdy.launched:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    Sturdy.launched.clear()
    while LeaksDescriptors.opened:
        os.close(LeaksDescriptors.opened.pop())
    assert not resources.descendants()


def keep(contract: ExecutorContract, test: str, executor: BaseExecutor, folder: Path) -> None:
    """Run one test of the contract as pytest would."""
    method = getattr(contract, f"test_{test}")
    fixtures = {"executor": executor, "tmp_path": folder}
    method(**{name: fixtures[name] for name in inspect.signature(method).parameters})


@pytest.mark.parametrize(("cls", "test"), MUTANTS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_mutant_fails(cls: type[BaseExecutor], test: str, tmp_path: Path):
    executor = cls(2)
    executor.start()
    try:
        with pytest.raises((AssertionError, LookupError, OSError, OverflowError, ValueError)):
            keep(Impatient(), test, executor, tmp_path)
    finally:
        executor.terminate()


@pytest.mark.parametrize("test", sorted(set(MUTANTS.values())))
def test_executor_that_the_mutants_derive_from_passes(test: str, tmp_path: Path):
    """They fail for their own fault."""
    executor = Sturdy(2)
    try:
        keep(ExecutorContract(), test, executor, tmp_path)
    finally:
        executor.terminate()


def test_executor_without_its_two_methods_fails(tmp_path: Path):
    with pytest.raises(NotImplementedError):
        keep(ExecutorContract(), "task_that_succeeds", BaseExecutor(2), tmp_path)
