"""``task_isolation``: what a fresh interpreter and a reused worker process do differently from a fork."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest
from worker_end import MemoryService, alive, eventually

from runtime.core.messages import Heartbeat
from runtime.worker import linux

# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fork", "spawn", "reuse"])
def any_worker(hire, request):
    return hire(task_isolation=request.param, killed_task_cleanup_time=5)


@pytest.mark.parametrize(
    ("task_id", "outcome", "reason"),
    [
        ("succeeds", "success", ""),
        ("fails", "failed", "ValueError: no luck"),
        ("skips", "skipped", "nothing to do"),
        ("fails_for_good", "failed", "hopeless"),
        ("exits_3", "failed", "the task called sys.exit(3)"),
        ("takes_too_long", "failed", "ran longer than its execution_timeout of 0.2 s"),
    ],
)
def test_ways_to_end(any_worker, task_id, outcome, reason):
    report = any_worker.run(task_id)
    assert (report.outcome, report.reason) == (outcome, reason)
    assert report.retry_delay == {"fails": 7.0, "takes_too_long": 9.0}.get(task_id, 300.0)


def test_xcoms_templates_and_logs(any_worker):
    any_worker.service.xcoms["returns", "return_value", -1] = {"a": [1]}
    assert any_worker.value("pulls") == [{"a": [1]}, [{"a": [1]}, None], "none"]
    assert any_worker.value("pushes") == "blue"
    assert any_worker.value("bash") == "2026-11-22 red 2026-11-23"
    any_worker.run("speaks")
    for text in ("to stdout", "to stderr", "by logging 7", "from a subprocess", "raw bytes", "no line end"):
        assert any_worker.log("speaks").count(f"{text}\n") == 1


def test_a_running_task_can_be_stopped(any_worker, notes):
    attempt_id = any_worker.assign("cleans_up")
    any_worker.pump((notes / "running").exists)
    any_worker.kill(attempt_id)
    any_worker.wait_end(attempt_id)
    assert any_worker.service.finishes[attempt_id].reason == "stopped by hand"
    assert (notes / "on_kill").exists()


def test_what_a_task_started_is_gone_at_its_end(any_worker, notes, pids):
    any_worker.run("leaves_a_family")
    assert not any(alive(pid) for pid in pids())


# -- fork ------------------------------------------------------------------------------------------------------------


def spare_of(worker) -> int:
    """The process that an idle worker has forked for its next attempt."""
    worker.wait_idle()
    found: list[int] = []
    eventually(lambda: found.extend(filter(alive, linux.child_pids(worker.process.pid))) or len(found) > 0)
    return found[0]


def test_the_next_attempts_process_is_forked_ahead_and_used(worker):
    worker.run("succeeds")
    spare = spare_of(worker)
    attempt_id = worker.assign("returns")
    worker.wait_end(attempt_id)
    assert worker.service.starts[attempt_id].pid == spare


def test_a_process_forked_ahead_is_not_used_for_a_file_that_it_does_not_hold(worker):
    worker.run("succeeds")
    spare = spare_of(worker)
    with (worker.dags / "dag.py").open("a") as file:
        file.write("\n# changed\n")
    attempt_id = worker.assign("succeeds")
    assert worker.wait_end(attempt_id)["ok"]
    assert worker.service.starts[attempt_id].pid != spare
    assert not alive(spare)


def test_a_process_forked_ahead_that_dies_is_replaced(worker):
    worker.run("succeeds")
    spare = spare_of(worker)
    os.kill(spare, signal.SIGKILL)
    eventually(lambda: spare_of(worker) != spare)
    assert worker.run("succeeds").outcome == "success"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_forked_ahead_leaves_with_its_worker(worker, signum):
    worker.run("succeeds")
    spare = spare_of(worker)
    worker.process.send_signal(signum)
    worker.wait_exit()
    eventually(lambda: not alive(spare))


# -- spawn -----------------------------------------------------------------------------------------------------------


def test_a_fresh_interpreter_knows_nothing_of_the_one_before(hire):
    worker = hire(task_isolation="spawn")
    assert [worker.value("remembers"), worker.value("remembers")] == [1, 1]


def test_the_worker_itself_does_not_import_the_file(hire):
    worker = hire(task_isolation="spawn")
    attempt_id = worker.assign("succeeds")
    worker.wait_end(attempt_id)
    assert worker.wait_idle()["files"] == []
    assert worker.service.starts[attempt_id].file_hash == worker.service.runs[attempt_id].file_hash


def test_a_fresh_interpreter_leads_its_session_and_keeps_the_environment(hire, monkeypatch):
    path_before = f"{Path(__file__).parents[3]}:/somewhere"
    monkeypatch.setenv("PYTHONPATH", path_before)
    worker = hire(task_isolation="spawn")
    attempt_id = worker.assign("knows_its_pid")
    worker.wait_end(attempt_id)
    pid, session, path = msgspec.json.decode(worker.service.finishes[attempt_id].return_value)
    assert pid == session == worker.service.starts[attempt_id].pid
    assert path == path_before


def test_kill_9_of_the_worker_takes_a_fresh_interpreter_along(hire, notes):
    worker = hire(task_isolation="spawn")
    attempt_id = worker.assign("ignores_sigterm")
    worker.pump((notes / "running").exists)
    worker.process.send_signal(signal.SIGKILL)
    eventually(lambda: not alive(worker.service.starts[attempt_id].pid))


# -- reuse -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reused(hire):
    return hire(task_isolation="reuse", killed_task_cleanup_time=5, heartbeat_sec=0.2)


def test_attempts_share_the_workers_process(reused):
    assert [reused.value("remembers") for _ in range(3)] == [1, 2, 3]
    pid, _, _ = reused.value("knows_its_pid")
    assert pid == reused.process.pid


def test_a_reused_worker_leaves_after_its_limit(hire):
    worker = hire(task_isolation="reuse", reuse_limit=3)
    for _ in range(2):
        worker.run("succeeds")
        assert not worker.wait_idle()["retire"]
    worker.run("succeeds")
    assert worker.wait_idle()["retire"]
    assert worker.wait_exit() == 0


@pytest.mark.parametrize("task_id", ["leaves_a_thread", "leaves_a_family"])
def test_a_reused_worker_leaves_when_a_task_left_threads_or_processes(reused, task_id):
    assert reused.run(task_id).outcome == "success"
    assert reused.wait_idle()["retire"]
    assert reused.wait_exit() == 0


def test_heartbeats_go_on_while_a_task_runs(reused, notes):
    attempt_id = reused.assign("sleeps")
    reused.pump(lambda: reused.service.heartbeats >= 2)
    reused.service.go_on = False
    reused.wait_end(attempt_id)
    assert reused.service.finishes[attempt_id].reason == "cleared by hand"


def test_a_task_that_does_not_end_takes_its_worker_along(reused, notes):
    attempt_id = reused.assign("takes_too_long_and_swallows")
    reused.pump((notes / "running").exists)
    reused.kill(attempt_id, grace=0.1)
    assert reused.wait_exit() == 1
    assert attempt_id not in reused.service.finishes
    assert "it did not end in time, and its worker with it" in reused.log("takes_too_long_and_swallows")


def test_without_acknowledged_heartbeats_the_worker_ends(hire, notes):
    worker = hire(MemoryService(silent=(Heartbeat,)), task_isolation="reuse", heartbeat_sec=0.2, heartbeat_timeout=6)
    attempt_id = worker.assign("sleeps")
    assert worker.wait_exit() == 1
    assert attempt_id not in worker.service.finishes


def test_the_executors_end_ends_a_reused_worker_in_mid_task(reused, notes):
    reused.assign("sleeps")
    reused.pump((notes / "running").exists)
    reused.channel.close()
    assert reused.process.wait(30) == 1


def test_sigterm_stops_the_task_reports_and_exits(reused, notes):
    attempt_id = reused.assign("sleeps")
    reused.pump((notes / "running").exists)
    reused.process.send_signal(signal.SIGTERM)
    assert reused.wait_exit() == 0
    assert reused.service.finishes[attempt_id].reason == "its worker got SIGTERM"
