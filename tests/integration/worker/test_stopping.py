"""Attempts that are stopped, time out or are left alone: what is reported, and that nothing of them stays alive."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest
from worker_end import MemoryService, alive, eventually

from executors.local.channel import Kind
from runtime.core.messages import Finish, Heartbeat, Start, XComPull


def running(worker, notes, attempt_id: str) -> int:
    """Wait until user code runs; the pid of its process."""
    file = notes / "running"
    worker.pump(lambda: file.exists() and file.read_text() != "")
    return worker.service.starts[attempt_id].pid


def test_killing_a_task_ends_it_with_the_reason_of_the_order(worker, notes):
    attempt_id = worker.assign("sleeps")
    pid = running(worker, notes, attempt_id)
    worker.kill(attempt_id)
    assert worker.wait_end(attempt_id)["ok"]
    report = worker.service.finishes[attempt_id]
    assert (report.outcome, report.reason, report.retry_delay) == ("failed", "stopped by hand", 9.0)
    assert not alive(pid)
    assert worker.log("sleeps").splitlines()[-1].endswith("ERROR - stopped by hand")


def test_on_kill_and_finally_run_even_when_the_task_waits_for_a_subprocess(worker, notes):
    attempt_id = worker.assign("cleans_up")
    running(worker, notes, attempt_id)
    worker.kill(attempt_id)
    worker.wait_end(attempt_id)
    assert (notes / "on_kill").read_text() == (notes / "finally").read_text() == "done"


def test_a_task_whose_code_catches_every_exception_ends_all_the_same(worker, notes):
    """The exception that SIGTERM raises is none that ``except Exception`` takes."""
    attempt_id = worker.assign("swallows")
    running(worker, notes, attempt_id)
    worker.kill(attempt_id)
    worker.wait_end(attempt_id)
    assert worker.service.finishes[attempt_id].reason == "stopped by hand"


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace(worker, notes):
    attempt_id = worker.assign("ignores_sigterm")
    pid = running(worker, notes, attempt_id)
    worker.kill(attempt_id, grace=0.1)
    worker.wait_end(attempt_id)
    assert worker.service.finishes[attempt_id].reason == "stopped by hand"
    assert not alive(pid)


def test_an_attempt_that_is_killed_as_soon_as_it_is_assigned_ends_at_once(worker):
    """Whatever its process was doing just then; a lost signal would show as a wait for the whole grace."""
    for _ in range(10):
        worker.run("succeeds")
        attempt_id = worker.assign("sleeps")
        worker.kill(attempt_id, grace=1000)
        worker.wait_end(attempt_id)
        assert worker.service.finishes[attempt_id].reason == "stopped by hand"


def test_an_order_for_another_attempt_is_ignored(worker, notes):
    attempt_id = worker.assign("sleeps")
    running(worker, notes, attempt_id)
    worker.kill("somebody-else")
    worker.kill(attempt_id)
    worker.wait_end(attempt_id)
    worker.kill(attempt_id)
    assert worker.run("succeeds").outcome == "success"


def test_execution_timeout_fails_the_task_and_keeps_its_retry_delay(worker):
    report = worker.run("takes_too_long")
    assert (report.outcome, report.reason) == ("failed", "ran longer than its execution_timeout of 0.2 s")
    assert report.retry_delay == 9.0


def test_a_task_that_swallows_its_timeout_is_killed_by_the_supervisor(hire):
    worker = hire(killed_task_cleanup_time=0.8)
    report = worker.run("takes_too_long_and_swallows")
    assert report.reason == "ran longer than its execution_timeout of 0.2 s and did not stop"
    assert "did not stop" in worker.log("takes_too_long_and_swallows")


@pytest.mark.parametrize("task_id", ["leaves_a_family", "leaves_a_family_and_hangs"])
def test_no_descendant_is_alive_when_the_end_is_reported(worker, notes, pids, task_id):
    """Neither those of its process group nor a daemon with a session of its own that ignores SIGTERM."""
    seen = []
    answer = worker.service.answer

    def look(data: bytes) -> bytes | None:
        if b'"finish"' in data:
            seen.extend(alive(pid) for pid in pids())
        return answer(data)

    worker.service.answer = look
    attempt_id = worker.assign(task_id)
    if task_id.endswith("hangs"):
        running(worker, notes, attempt_id)
        worker.kill(attempt_id)
    worker.wait_end(attempt_id)
    assert seen == [False]


def test_bash_with_a_background_job_is_gone_when_its_end_is_reported(worker, notes, pids):
    attempt_id = worker.assign("bash_hangs")
    worker.pump(lambda: (notes / "pids").exists() and (notes / "pids").read_text().strip() != "")
    worker.kill(attempt_id)
    worker.wait_end(attempt_id)
    assert not any(alive(pid) for pid in pids())


def test_kill_9_of_the_task_process_fails_the_attempt(worker, notes):
    attempt_id = worker.assign("sleeps")
    os.kill(running(worker, notes, attempt_id), signal.SIGKILL)
    worker.wait_end(attempt_id)
    report = worker.service.finishes[attempt_id]
    assert (report.reason, report.retry_delay) == ("killed by SIGKILL (out of memory?)", 9.0)


def test_kill_9_of_the_worker_takes_the_task_along(worker, notes):
    attempt_id = worker.assign("ignores_sigterm")
    pid = running(worker, notes, attempt_id)
    worker.process.send_signal(signal.SIGKILL)
    eventually(lambda: not alive(pid))


def test_the_executors_end_ends_worker_task_and_daemon(worker, notes, pids):
    attempt_id = worker.assign("leaves_a_family_and_hangs")
    pid = running(worker, notes, attempt_id)
    worker.channel.close()
    assert worker.process.wait(30) == 0
    assert not any(alive(member) for member in [pid, *pids()])


def test_sigterm_to_the_worker_stops_the_task_reports_and_exits(worker, notes):
    attempt_id = worker.assign("sleeps")
    running(worker, notes, attempt_id)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    assert worker.ended[attempt_id]["ok"]
    assert worker.service.finishes[attempt_id].reason == "its worker got SIGTERM"
    assert worker.idle["retire"]


def test_stop_lets_the_current_attempt_finish(worker):
    attempt_id = worker.assign("returns")
    worker.channel.send(Kind.STOP)
    assert worker.wait_exit() == 0
    assert worker.service.finishes[attempt_id].outcome == "success"


def test_an_idle_worker_leaves_at_stop_and_at_sigterm(hire):
    for farewell in (lambda w: w.channel.send(Kind.STOP), lambda w: w.process.send_signal(signal.SIGTERM)):
        worker = hire()
        worker.wait_idle()
        farewell(worker)
        assert worker.wait_exit() == 0


# -- the service says no, or nothing --------------------------------------------------------------------------------


def test_a_refused_start_runs_nothing(hire, notes):
    worker = hire(MemoryService(refuse="the run was deleted"))
    attempt_id = worker.assign("sleeps")
    assert worker.wait_end(attempt_id) == {
        "attempt_id": attempt_id,
        "ok": False,
        "reason": "not started: the run was deleted",
    }
    assert not (notes / "running").exists()
    assert not worker.service.finishes
    assert not list(worker.logs.rglob("*.log"))


def test_of_two_launches_of_one_attempt_only_one_runs(hire, notes):
    """The nonce is random per launch, and the service grants one."""
    service = MemoryService()
    first, second = hire(service), hire(service)
    attempt_id = first.assign("sleeps", attempt_id="same")
    pid = running(first, notes, attempt_id)
    second.assign("sleeps", attempt_id="same")
    assert second.wait_end(attempt_id)["reason"] == "not started: another launch has started"
    assert (notes / "running").read_text() == str(pid)
    assert len({start.nonce for start in [service.starts["same"], *service.refused]}) == 2
    first.kill(attempt_id)
    assert first.wait_end(attempt_id)["ok"]


def test_a_service_that_does_not_answer_the_start_is_no_permission(hire, notes):
    worker = hire(MemoryService(silent=(Start,)))
    assert worker.wait_end(worker.assign("sleeps"))["reason"] == "not started: the task service gave no answer"
    assert not (notes / "running").exists()


def test_a_start_that_is_never_answered_is_given_up(hire):
    worker = hire(MemoryService(deaf=(Start,)), heartbeat_timeout=6)
    ended = worker.wait_end(worker.assign("sleeps"))
    assert ended["reason"] == "not started: no heartbeat was acknowledged for 1 s"


def test_heartbeats_keep_an_attempt_alive(hire, notes):
    worker = hire(heartbeat_sec=0.05, heartbeat_timeout=6)
    attempt_id = worker.assign("sleeps")
    running(worker, notes, attempt_id)
    worker.pump(lambda: worker.service.heartbeats > 30)
    worker.kill(attempt_id)
    worker.wait_end(attempt_id)


def test_a_refused_heartbeat_stops_the_task_and_its_end_is_reported(hire, notes):
    worker = hire(heartbeat_sec=0.05)
    attempt_id = worker.assign("sleeps")
    pid = running(worker, notes, attempt_id)
    worker.service.go_on = False
    worker.wait_end(attempt_id)
    report = worker.service.finishes[attempt_id]
    assert (report.outcome, report.reason) == ("failed", "cleared by hand")
    assert not alive(pid)
    assert worker.log("sleeps").splitlines()[-1].endswith("cleared by hand")
    worker.service.go_on = True
    assert worker.run("succeeds").outcome == "success"


def test_without_acknowledged_heartbeats_the_task_is_killed_before_the_service_gives_it_up(hire, notes):
    worker = hire(MemoryService(silent=(Heartbeat,)), heartbeat_sec=0.1, heartbeat_timeout=6)
    attempt_id = worker.assign("ignores_sigterm")
    pid = running(worker, notes, attempt_id)
    assert worker.wait_end(attempt_id)["reason"] == "no heartbeat was acknowledged for 1 s"
    assert not alive(pid)
    assert not worker.service.finishes


def test_a_report_without_an_answer_is_repeated_with_the_same_nonce(hire):
    worker = hire(MemoryService(silent=(Finish,)))
    attempt_id = worker.assign("succeeds")
    worker.pump(lambda: worker.frames.count(Kind.CALL) >= 3)
    assert attempt_id not in worker.ended
    worker.service.silent = ()
    assert worker.wait_end(attempt_id)["ok"]


def test_a_report_that_is_refused_is_told_to_the_executor(worker):
    attempt_id = worker.assign("succeeds")
    start = worker.wait_start(attempt_id)
    worker.service.starts[attempt_id] = msgspec.structs.replace(start, nonce="another")
    ended = worker.wait_end(attempt_id)
    assert (ended["ok"], ended["reason"]) == (False, "the report was refused: this launch was never granted the start")


def test_a_task_that_waits_for_an_xcom_can_be_stopped(hire):
    worker = hire(MemoryService(deaf=(XComPull,)), killed_task_cleanup_time=5)
    attempt_id = worker.assign("pulls")
    worker.pump(lambda: worker.frames.count(Kind.CALL) == 2)
    worker.kill(attempt_id)
    worker.pump(lambda: attempt_id in worker.service.finishes)
    assert worker.service.finishes[attempt_id].reason == "stopped by hand"
