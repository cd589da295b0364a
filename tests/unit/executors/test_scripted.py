"""What can be scripted, from code and from the configuration."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError
from executors.events import Failed, Lost, Succeeded
from executors.testing import ExecutorContract, ScriptedExecutor
from executors.workload import Workload

make_workload = ExecutorContract().make_workload


def launched(executor: ScriptedExecutor) -> Workload:
    workload = make_workload()
    executor.queue_workload(workload)
    executor.heartbeat()
    return workload


def test_waits_for_finish_and_records_calls():
    executor = ScriptedExecutor(2)
    good, bad = launched(executor), launched(executor)
    assert executor.get_event_buffer() == []
    executor.finish(good.key)
    executor.finish(bad.key, ok=False, info="why")
    executor.heartbeat()
    assert executor.get_event_buffer() == [Succeeded(good.key), Failed(bad.key, "why")]
    assert ("execute_async", bad.key) in executor.calls


def test_finish_asks_for_a_heartbeat():
    asked = threading.Event()
    executor = ScriptedExecutor(2, context=ExecutorContext(wake=asked.set))
    executor.finish(make_workload().key)
    assert asked.is_set()


def test_instant_success():
    executor = ScriptedExecutor(2, context=ExecutorContext(options={"instant": "true"}))
    workload = launched(executor)
    assert executor.get_event_buffer() == [Succeeded(workload.key)]


@pytest.mark.parametrize("method", ["heartbeat", "sync", "execute_async"])
def test_raises_as_often_as_told(method: str):
    executor = ScriptedExecutor(2)
    executor.raises(method, ValueError("told to"), times=1)
    with pytest.raises(ValueError, match="told to"):
        launched(executor)
    executor.heartbeat()
    assert executor.calls.count(("sync", None)) >= 1


def test_hang_is_seen_and_released():
    executor = ScriptedExecutor(2)
    hang = executor.hang("sync")
    thread = threading.Thread(target=executor.heartbeat)
    thread.start()
    assert hang.entered.wait(20)
    assert thread.is_alive()
    hang.released.set()
    thread.join(20)
    assert not thread.is_alive()


def test_script_from_options():
    options = {"raise_in": "start", "raise_times": "1", "hang_in": "sync", "hang_sec": "0"}
    executor = ScriptedExecutor(2, context=ExecutorContext(options=options))
    with pytest.raises(RuntimeError, match="scripted in start"):
        executor.start()
    executor.start()
    executor.heartbeat()
    assert [method for method, _ in executor.calls] == ["constructor", "start", "start", "heartbeat", "sync"]


def test_constructor_can_raise():
    with pytest.raises(RuntimeError, match="scripted in constructor"):
        ScriptedExecutor(2, context=ExecutorContext(options={"raise_in": "constructor"}))


def test_bad_option_is_named():
    with pytest.raises(ExecutorConfigError, match="option hang_sec = 'soon' is not a whole number"):
        ScriptedExecutor(2, context=ExecutorContext(name="x", options={"hang_in": "sync", "hang_sec": "soon"}))


def test_import_is_cheap():
    """Hosts and benchmarks use the fake without pytest."""
    code = "import sys, executors.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("end", "event"), [("success", Succeeded), ("failed", Failed), ("lost", Lost)])
def test_a_task_scripts_its_own_end(end: str, event: type):
    executor = ScriptedExecutor(2)
    executor.queue_workload(workload := make_workload(executor_config={"end": end}))
    executor.heartbeat()
    (found,) = executor.get_event_buffer()
    assert (type(found), found.key) == (event, workload.key)
