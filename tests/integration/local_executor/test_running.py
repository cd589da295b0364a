"""What a LocalExecutor does with work while nothing goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from local_host import Host, wait_until

from executors import TaskInstanceRef
from executors.errors import ExecutorConfigError, ExecutorError, TaskServiceAwayError
from executors.events import Failed, Succeeded
from executors.local.executor import LocalExecutor
from executors.local.sequential import SequentialExecutor

HostMaker = Callable[..., Host]


@pytest.mark.parametrize("parallelism", [2, 0])
def test_success_and_failure_are_reported_with_their_reasons(host: HostMaker, parallelism: int) -> None:
    local = host(parallelism)
    good, bad = local.queue("ok"), local.queue("fail")
    local.until_events(2)
    assert local.outcome(good)[0] == "Succeeded"
    assert local.outcome(bad) == ("Failed", "it broke")
    assert not local.executor.has_task(good)


@pytest.mark.parametrize("parallelism", [32, 0])
def test_32_attempts_run_at_the_same_time(host: HostMaker, parallelism: int, tmp_path: Path) -> None:
    local = host(parallelism)
    gates = [tmp_path / str(number) for number in range(32)]
    for gate in gates:
        local.queue("wait", path=str(gate))
    local.until(lambda: all(gate.exists() for gate in gates), "all are running")
    pids = {gate.read_text() for gate in gates}
    for gate in gates:
        gate.unlink()
    events = local.until_events(32)
    assert len(pids) == 32
    assert all(isinstance(event, Succeeded) for event in events)


def test_the_highest_priority_starts_first_and_equals_in_their_order(host: HostMaker) -> None:
    local = host(1)
    for name, priority in [("low", 1), ("high", 9), ("middle", 5), ("low2", 1)]:
        local.queue(name=name, priority=priority)
    events = local.until_events(4)
    assert [event.key.task_id for event in events] == ["high", "middle", "low", "low2"]


def test_a_slot_is_occupied_until_its_event_is_taken(host: HostMaker) -> None:
    local = host(1)
    local.queue()
    local.queue()
    executor = local.executor
    wait_until(lambda: executor.heartbeat() or bool(executor._events), "the first has ended")
    executor.heartbeat()
    assert len(executor.queued_tasks) == 1
    assert executor.slots_available == 0
    assert len(executor.get_event_buffer()) == 1
    local.until_events(1)


def test_warm_workers_are_used_again(host: HostMaker) -> None:
    local = host(2)
    tis = []
    for _ in range(6):
        tis.append(local.queue())
        local.until_events(len(tis))
        local.until_idle()
    assert len({local.outcome(ti)[1] for ti in tis}) == 1


def test_without_parallelism_each_attempt_gets_its_own_process_which_ends_with_it(host: HostMaker) -> None:
    local = host(0)
    tis = [local.queue() for _ in range(6)]
    local.until_events(6)
    assert len({local.outcome(ti)[1] for ti in tis}) == 6
    local.until(lambda: not local.worker_pids, "all have exited")


def test_a_worker_that_holds_the_file_version_is_preferred(host: HostMaker, tmp_path: Path) -> None:
    local = host(2)
    gate = tmp_path / "gate"
    first = local.queue("wait", file="first.py", path=str(gate))
    local.until(gate.exists, "it is running")
    second = local.queue(file="second.py")
    local.until_events(1)
    gate.unlink()
    local.until_events(2)
    again = []
    for name in ("second.py", "first.py", "second.py"):
        local.until_idle()
        again.append(local.queue(file=name))
        local.until_events(2 + len(again))
    by_file = [local.outcome(second), local.outcome(first), local.outcome(second)]
    assert [local.outcome(ti) for ti in again] == by_file


def test_idle_workers_beyond_the_allowance_are_let_go(host: HostMaker, tmp_path: Path) -> None:
    local = host(4, idle_workers="1", idle_worker_seconds="0")
    gates = [tmp_path / str(number) for number in range(4)]
    for gate in gates:
        local.queue("wait", path=str(gate))
    local.until(lambda: all(gate.exists() for gate in gates), "all are running")
    for gate in gates:
        gate.unlink()
    local.until_events(4)
    local.until(lambda: len(local.worker_pids) == 1, "one is left")
    ti = local.queue()
    local.until_events(5)
    assert local.outcome(ti) == ("Succeeded", str(local.worker_pids[0]))


@pytest.mark.parametrize("orders", [{"do": "ok", "rss": 2**40}, {"do": "retire"}])
def test_a_worker_that_grew_too_large_or_retires_is_replaced(host: HostMaker, orders: dict[str, int]) -> None:
    local = host(1, worker_memory_mb="100")
    local.queue(**orders)
    local.until_events(1)
    local.until(lambda: not local.worker_pids, "it has exited")
    ti = local.queue()
    local.until_events(2)
    assert local.outcome(ti) == ("Succeeded", str(local.worker_pids[0]))


def test_requests_are_answered_to_the_worker_that_asked(host: HostMaker) -> None:
    local = host(4)
    tis = [local.queue("call", count=50) for _ in range(4)]
    local.until_events(4)
    assert {local.outcome(ti) for ti in tis} == {("Succeeded", "50 answers")}


def test_requests_of_several_workers_are_answered_in_one_batch(host: HostMaker) -> None:
    batches: list[int] = []

    def service(requests: Sequence[bytes]) -> list[bytes]:
        batches.append(len(requests))
        return [b"answer to " + request for request in requests]

    local = host(4, service=service)
    for _ in range(4):
        local.queue("call")
    local.executor.heartbeat()
    wait_until(lambda: len(local.executor._crew.poll(0)[0]) == 4, "all have asked")
    local.until_events(4)
    assert batches == [4]


def test_requests_wait_for_a_task_service_that_is_away(host: HostMaker) -> None:
    """That is no failure of the executor; it asks once in a heartbeat, for the answer may take its time."""
    broken = threading.Event()
    broken.set()
    asked: list[Sequence[bytes]] = []

    def service(requests: Sequence[bytes]) -> list[bytes]:
        asked.append(requests)
        if broken.is_set():
            raise TaskServiceAwayError("database is locked")
        return [b"answer to " + request for request in requests]

    local = host(2, service=service)
    first = local.queue("call")
    local.executor.heartbeat()
    wait_until(lambda: bool(local.executor._crew.poll(0)[0]), "it has asked")
    second = local.queue("call")
    local.executor.heartbeat()
    wait_until(lambda: bool(local.executor._crew.poll(0)[0]), "the second one has asked, too")
    local.executor.heartbeat()
    assert [len(requests) for requests in asked] == [1, 1]
    broken.clear()
    local.until_events(2)
    assert [local.outcome(ti) for ti in (first, second)] == [("Succeeded", "1 answers")] * 2


def test_a_flood_of_large_requests_passes(host: HostMaker) -> None:
    local = host(2)
    flood, small = local.queue("call", count=8, size=8 * 2**20), local.queue("call", count=20)
    local.until_events(2)
    assert local.outcome(flood) == ("Succeeded", "8 answers")
    assert local.outcome(small) == ("Succeeded", "20 answers")


def test_a_worker_that_stops_reading_delays_nobody(host: HostMaker, tmp_path: Path) -> None:
    local = host(2, service=lambda requests: [b"answer to " + request + b" " * 2**20 for request in requests])
    mark = tmp_path / "asked"
    deaf = local.queue("deafen", count=40, path=str(mark))
    local.until(mark.exists, "it has asked")
    others = [local.queue("call", count=3) for _ in range(5)]
    local.until_events(5)
    assert {local.outcome(ti) for ti in others} == {("Succeeded", "3 answers")}
    assert local.executor.has_task(deaf)


def test_workers_get_the_hosts_settings_and_the_options(host: HostMaker) -> None:
    local = host(1, task_isolation="reuse", worker_memory_mb="77")
    ti = local.queue("config")
    local.until_events(1)
    assert json.loads(str(local.outcome(ti)[1])) == {
        "executor": "local",
        "home": "/h",
        "task_isolation": "reuse",
        "worker_memory_mb": "77",
    }


def test_a_worker_inherits_no_socket_but_its_own(host: HostMaker, tmp_path: Path) -> None:
    local = host(3)
    gate = tmp_path / "gate"
    local.queue("wait", path=str(gate))
    local.until(gate.exists, "the first worker is there")
    second = local.queue("descriptors")
    local.until_events(1)
    assert json.loads(str(local.outcome(second)[1])).count("socket") == 1
    assert "pipe" not in json.loads(str(local.outcome(second)[1]))


def test_sequential_runs_one_at_a_time_whatever_its_parallelism(host: HostMaker) -> None:
    local = host(16, cls=SequentialExecutor)
    assert (local.executor.parallelism, local.executor.slots_available) == (1, 1)
    assert (SequentialExecutor.is_production, SequentialExecutor.is_single_threaded) == (False, True)
    tis = [local.queue() for _ in range(5)]
    local.until_events(5)
    assert len({local.outcome(ti) for ti in tis}) == 1


def test_without_an_entry_of_the_host_the_command_runs(host: HostMaker) -> None:
    local = host(2, entry="")
    for ti, command in [(local.queue(), ("true",)), (local.queue(), ("false",)), (local.queue(), ("no-such-command",))]:
        workload = local.executor.queued_tasks[ti.key]
        local.executor.queued_tasks[ti.key] = type(workload)(key=ti.key, command=command, code=workload.code)
    events = {event.key.task_id: event for event in local.until_events(3)}
    assert isinstance(events["task1"], Succeeded)
    assert isinstance(events["task2"], Failed)
    assert events["task2"].reason == "the command exited with code 1"
    assert events["task3"].reason == "cannot run no-such-command: No such file or directory"


def test_nothing_is_adopted_because_local_attempts_die_with_their_scheduler(host: HostMaker) -> None:
    local = host(start=False)
    refs = [local.queue(), local.queue()]
    assert list(local.executor.try_adopt_task_instances(refs)) == refs


def test_debug_dump_names_zygote_and_workers(host: HostMaker, tmp_path: Path) -> None:
    local = host()
    gate = tmp_path / "gate"
    ti: TaskInstanceRef = local.queue("wait", path=str(gate))
    local.until(gate.exists, "it is running")
    dump = local.executor.debug_dump()
    assert f"zygote   pid {local.zygote_pid}: ready" in dump
    assert f"worker   pid {gate.read_text()}: {ti.key}" in dump


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_isolation": "thread"}, "task_isolation = 'thread' is none of fork, spawn, reuse"),
        ({"worker_memory_mb": "0"}, "worker_memory_mb = 0 is below 1"),
        ({"idle_workers": "many"}, "idle_workers = 'many' is not a whole number"),
    ],
)
def test_bad_options_are_named(host: HostMaker, options: dict[str, str], message: str) -> None:
    with pytest.raises(ExecutorConfigError, match=message):
        host(start=False, **options)


def test_an_entry_that_cannot_be_imported_is_named_at_start(host: HostMaker) -> None:
    with pytest.raises(ExecutorError, match="cannot import worker entry 'nowhere:serve': ModuleNotFoundError"):
        host(entry="nowhere:serve")


@pytest.mark.parametrize("cls", [LocalExecutor, SequentialExecutor])
def test_negative_parallelism_is_refused(host: HostMaker, cls: type[LocalExecutor]) -> None:
    with pytest.raises(ExecutorConfigError, match="parallelism = -1"):
        host(-1, start=False, cls=cls)
