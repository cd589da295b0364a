"""Faults, revocation and the ends of a LocalExecutor: what is reported, and that no process remains."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from local_host import Host, alive, wait_until

from executors.events import Lost

HostMaker = Callable[..., Host]


def pids_in(gate: Path) -> list[int]:
    return [int(word) for word in gate.read_text().split()]


@pytest.mark.parametrize("parallelism", [2, 0])
def test_a_killed_worker_is_lost_with_its_signal_and_the_next_one_works(
    host: HostMaker, parallelism: int, tmp_path: Path
) -> None:
    local = host(parallelism)
    gate = tmp_path / "gate"
    ti = local.queue("wait", path=str(gate), family=True)
    local.until(gate.exists, "it is running")
    worker, daemon = pids_in(gate)
    os.kill(worker, signal.SIGKILL)
    local.until_events(1)
    assert local.outcome(ti) == ("Lost", f"worker process {worker} was killed by SIGKILL")
    assert not alive(daemon), "lost is reported when nothing of the attempt runs any more"
    after = local.queue()
    local.until_events(2)
    assert local.outcome(after)[0] == "Succeeded"


@pytest.mark.parametrize(
    ("orders", "how"),
    [
        ({"do": "exit"}, "exited with code 3"),
        ({"do": "exit", "code": 0}, "exited with code 0"),
        ({"do": "signal", "signum": int(signal.SIGSEGV)}, "was killed by SIGSEGV"),
        ({"do": "garbage"}, "is gone"),
    ],
)
def test_a_worker_that_leaves_without_a_report_never_counts_as_success(
    host: HostMaker, orders: dict[str, object], how: str
) -> None:
    local = host()
    ti = local.queue(**orders)
    local.until_events(1)
    outcome, reason = local.outcome(ti)
    assert outcome == "Lost"
    assert str(reason).endswith(how)
    assert not local.executor.has_task(ti)


def test_the_last_request_of_a_killed_worker_still_reaches_the_task_service(host: HostMaker) -> None:
    asked: list[bytes] = []
    local = host(service=lambda requests: asked.extend(requests) or [b""] * len(requests))
    local.queue("last_call")
    local.until_events(1)
    assert asked == [b"last words"]


def test_a_killed_idle_worker_costs_no_attempt(host: HostMaker) -> None:
    local = host(1)
    local.queue()
    local.until_events(1)
    (idle,) = local.worker_pids
    os.kill(idle, signal.SIGKILL)
    wait_until(lambda: not alive(idle), "it is dead")
    ti = local.queue()
    local.until_events(2)
    assert local.outcome(ti)[0] == "Succeeded"


def test_a_killed_zygote_loses_all_its_attempts_and_the_next_one_works(host: HostMaker, tmp_path: Path) -> None:
    local = host(4)
    gates = [tmp_path / str(number) for number in range(4)]
    tis = [local.queue("wait", path=str(gate)) for gate in gates]
    local.until(lambda: all(gate.exists() for gate in gates), "all are running")
    before = local.zygote_pid
    os.kill(before, signal.SIGKILL)
    local.until_events(4)
    assert {local.outcome(ti)[0] for ti in tis} == {"Lost"}
    assert f"its zygote process {before} was killed by SIGKILL" in str(local.outcome(tis[0])[1])
    wait_until(lambda: not any(alive(pids_in(gate)[0]) for gate in gates), "its workers are dead")
    after = local.queue()
    local.until_events(5)
    assert local.outcome(after)[0] == "Succeeded"
    assert local.zygote_pid != before
    assert local.executor.health_check() is None


def test_work_stays_queued_while_an_entry_dies_at_once_and_the_reason_is_told(host: HostMaker) -> None:
    local = host(1, entry="local_entry:die_at_once")
    for _ in range(3):
        local.queue()
    local.until(lambda: len(local.events) == 2, "two have been lost")
    local.beat(0)
    assert all(isinstance(event, Lost) for event in local.events)
    assert len(local.executor.queued_tasks) == 1
    assert "exited with code 7 before it said a word" in str(local.executor.health_check())


def test_the_zygote_ignores_signals_that_are_meant_for_the_scheduler(host: HostMaker) -> None:
    local = host(1)
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(local.zygote_pid, signum)
        ti = local.queue()
        local.until_events(local.count)
        assert local.outcome(ti)[0] == "Succeeded"
    os.kill(local.worker_pids[0], signal.SIGINT)
    last = local.queue()
    local.until_events(local.count)
    assert local.outcome(last)[0] == "Succeeded"


def test_a_revoked_queued_attempt_never_runs(host: HostMaker) -> None:
    local = host()
    ti = local.queue()
    local.executor.revoke_task(ti)
    local.queue()
    local.until_events(1)
    assert [event.key.task_id for event in local.events] == ["task2"]


def test_a_revoked_running_attempt_is_killed_without_event_and_its_worker_comes_back(
    host: HostMaker, tmp_path: Path
) -> None:
    local = host(1)
    gate = tmp_path / "gate"
    ti = local.queue("wait", path=str(gate))
    local.until(gate.exists, "it is running")
    local.executor.revoke_task(ti)
    local.executor.revoke_task(ti)
    assert not local.executor.has_task(ti)
    after = local.queue()
    local.until_events(1)
    assert local.outcome(after) == ("Succeeded", gate.read_text())


def test_a_worker_that_dies_with_a_revoked_attempt_makes_no_event(host: HostMaker, tmp_path: Path) -> None:
    local = host(1)
    gate = tmp_path / "gate"
    ti = local.queue("wait", path=str(gate))
    local.until(gate.exists, "it is running")
    os.kill(pids_in(gate)[0], signal.SIGKILL)
    local.executor.revoke_task(ti)
    local.queue()
    local.until_events(1)
    assert [event.key.task_id for event in local.events] == ["task2"]


@pytest.mark.parametrize("parallelism", [2, 0])
def test_end_finishes_what_is_queued_and_leaves_no_worker(host: HostMaker, parallelism: int) -> None:
    local = host(parallelism)
    tis = [local.queue("call") for _ in range(20)]
    local.executor.end()
    local.events = local.executor.get_event_buffer()
    assert {local.outcome(ti) for ti in tis} == {("Succeeded", "1 answers")}
    assert not alive(local.zygote_pid)
    assert list(local.executor.poll_handles()) == []
    local.executor.end()


def test_end_with_a_dead_zygote_reports_losses_and_finishes_the_rest(host: HostMaker, tmp_path: Path) -> None:
    local = host(1)
    gate = tmp_path / "gate"
    running, queued = local.queue("wait", path=str(gate)), local.queue()
    local.until(gate.exists, "it is running")
    os.kill(local.zygote_pid, signal.SIGKILL)
    local.executor.end()
    local.events = local.executor.get_event_buffer()
    assert local.outcome(running)[0] == "Lost"
    assert local.outcome(queued)[0] == "Succeeded"


def test_end_before_start_reports_the_queued_as_lost(host: HostMaker) -> None:
    local = host(start=False)
    ti = local.queue()
    local.executor.end()
    local.events = local.executor.get_event_buffer()
    assert local.outcome(ti) == ("Lost", "the executor was terminated")


@pytest.mark.parametrize("parallelism", [3, 0])
def test_terminate_kills_attempts_and_their_daemons_at_once(host: HostMaker, parallelism: int, tmp_path: Path) -> None:
    local = host(parallelism)
    gates = [tmp_path / str(number) for number in range(3)]
    tis = [local.queue("wait", path=str(gate), family=True) for gate in gates]
    local.until(lambda: all(gate.exists() for gate in gates), "all are running")
    local.executor.terminate()
    assert not any(alive(pid) for gate in gates for pid in pids_in(gate))
    assert not alive(local.zygote_pid)
    local.events = local.executor.get_event_buffer()
    assert {local.outcome(ti) for ti in tis} == {("Lost", "the executor was terminated")}
    local.executor.terminate()


def test_terminate_with_a_dead_zygote(host: HostMaker, tmp_path: Path) -> None:
    local = host()
    gate = tmp_path / "gate"
    ti = local.queue("wait", path=str(gate))
    local.until(gate.exists, "it is running")
    os.kill(local.zygote_pid, signal.SIGKILL)
    local.executor.terminate()
    local.events = local.executor.get_event_buffer()
    assert local.outcome(ti)[0] == "Lost"
    wait_until(lambda: not alive(pids_in(gate)[0]), "its worker is dead")


SCRIPT = """
import select, sys
from local_host import Host
from executors import ExecutorContext
from executors.local.executor import LocalExecutor

host = Host(LocalExecutor(3, context=ExecutorContext(name="doomed", worker_entry="local_entry:serve")))
host.executor.start()
print(host.zygote_pid, flush=True)
for path in sys.argv[1:]:
    host.queue("wait", path=path, family=True)
while True:
    host.beat(1)
"""


def test_when_the_executors_process_is_killed_nothing_of_it_remains(tmp_path: Path) -> None:
    gates = [tmp_path / str(number) for number in range(3)]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, gates)], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        zygote = int(process.stdout.readline())
        wait_until(lambda: all(gate.exists() for gate in gates), "all are running")
        process.kill()
    pids = [zygote, *(pid for gate in gates for pid in pids_in(gate))]
    wait_until(lambda: not any(alive(pid) for pid in pids), "zygote, workers and their daemons are dead")


def test_a_frozen_zygote_blocks_nothing_and_a_dead_worker_is_called_gone(host: HostMaker, tmp_path: Path) -> None:
    local = host(2)
    gates = [tmp_path / "doomed", tmp_path / "well"]
    doomed, well = [local.queue("wait", path=str(gate)) for gate in gates]
    local.until(lambda: all(gate.exists() for gate in gates), "both are running")
    os.kill(local.zygote_pid, signal.SIGSTOP)
    (worker,) = pids_in(gates[0])
    os.kill(worker, signal.SIGKILL)
    local.until_events(1)
    gates[1].unlink()
    local.until_events(2)
    os.kill(local.zygote_pid, signal.SIGCONT)
    assert local.outcome(doomed) == ("Lost", f"worker process {worker} is gone")
    assert local.outcome(well)[0] == "Succeeded"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("parallelism", [4, 0])
def test_under_random_kills_every_attempt_ends_once_and_no_slot_leaks(
    host: HostMaker, parallelism: int, seed: int
) -> None:
    local = host(parallelism)
    dice = random.Random(seed)
    tis = [local.queue("call", count=3) for _ in range(60)]
    kills = 0

    def beat_and_kill() -> bool:
        nonlocal kills
        if kills < 12 and local.worker_pids and dice.random() < 0.3:
            kills += 1
            victim = local.zygote_pid if dice.random() < 0.25 else dice.choice(local.worker_pids)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return len(local.events) >= len(tis)

    local.until(beat_and_kill, "all have ended")
    outcomes = [local.outcome(ti) for ti in tis]
    assert {name for name, _ in outcomes} <= {"Succeeded", "Lost"}
    assert local.executor.slots_occupied == 0
    last = local.queue()
    local.until_events(len(tis) + 1)
    assert local.outcome(last)[0] == "Succeeded"
