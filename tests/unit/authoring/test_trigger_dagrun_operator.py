"""``TriggerDagRunOperator`` before and after the task service is asked; what that does is tested with the database."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from runtime import DAG, SkipTask, TaskError, TriggerDagRunOperator
from runtime.authoring.exceptions import ArgumentError
from runtime.core.messages import TriggeredRun


class Asked:
    """``ti``: remembers what it is asked, and answers with one run, in these states one after the other."""

    def __init__(self, states: str = "success", **reply: Any) -> None:
        self.reply = TriggeredRun("r1", "queued", **reply)
        self.states = states.split()
        self.asked: list[Any] = []
        self.pushed: dict[str, Any] = {}

    def trigger_dagrun(self, dag_id: str, **options: Any) -> TriggeredRun:
        self.asked.append((dag_id, options))
        return self.reply

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        self.asked.append((dag_id, run_id))
        return self.states.pop(0)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def execute(ti: Asked, **arguments: Any) -> Asked:
    with DAG("d"):
        operator = TriggerDagRunOperator(task_id="t", **{"trigger_dag_id": "child", **arguments})
    context = {"ti": ti, "ds": "2026-03-01", "params": {"n": 1}, "run_id": "r"}
    operator.render_template_fields(context).execute(context)
    return ti


def test_what_is_asked_for_and_what_is_pushed():
    ti = execute(
        Asked(),
        trigger_dag_id="child_{{ params.n }}",
        trigger_run_id="on_{{ ds }}",
        conf={"day": "{{ ds }}", "n": [1]},
        logical_date="{{ ds }}",
        reset_dag_run=True,
    )
    options = {
        "run_id": "on_2026-03-01",
        "conf": {"day": "2026-03-01", "n": [1]},
        "logical_date": datetime(2026, 3, 1, tzinfo=UTC),
        "reset": True,
        "unless_paused": False,
    }
    assert ti.asked == [("child_1", options)]
    assert ti.pushed == {"trigger_run_id": "r1", "trigger_dag_id": "child_1"}


@pytest.mark.parametrize(("given", "asked"), [({}, msgspec.UNSET), ({"logical_date": None}, None)])
def test_without_a_date_it_is_the_time_of_the_call_and_none_is_none(given, asked):
    ((_, options),) = execute(Asked(), **given).asked
    assert options["logical_date"] is asked


def test_it_waits_for_one_of_the_states():
    ti = execute(Asked("queued running success"), wait_for_completion=True, poke_interval=0.001)
    assert ti.states == []
    with pytest.raises(TaskError, match="run r1 of DAG child is failed"):
        execute(Asked("running failed"), wait_for_completion="{{ True }}", poke_interval=0.001)
    execute(Asked("failed"), wait_for_completion=True, allowed_states=["failed"], failed_states=[])


def test_a_run_that_is_there_fails_or_skips_it():
    for skip, error in ((False, TaskError), (True, SkipTask)):
        with pytest.raises(TaskError) as caught:
            execute(Asked(existed=True, reason="there is one"), skip_when_already_exists=skip)
        assert (type(caught.value), str(caught.value)) == (error, "there is one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trigger_dag_id": ""}, "task 't': trigger_dag_id is empty"),
        ({"trigger_run_id": 3}, "task 't': trigger_run_id must be a string, not 3"),
        ({"conf": "x"}, "task 't': conf must be a dict with string keys, not 'x'"),
        ({"logical_date": 3}, "task 't': logical_date must be a datetime, ISO text or None, not 3"),
        ({"poke_interval": 0}, "task 't': poke_interval of 0 seconds; it must be above 0"),
        ({"allowed_states": "success"}, "task 't': allowed_states must be a list; write ['success']"),
        ({"failed_states": ["fialed"]}, "task 't': unknown failed_states 'fialed'; did you mean 'failed'?"),
        ({"allowed_states": ["failed"]}, "task 't': failed stands in allowed_states and in failed_states"),
        ({"deferrable": True}, "task 't': deferrable=True is not supported yet; leave it out"),
        ({"reset_dag_run": 1}, "task 't': reset_dag_run must be True or False, not 1"),
        ({"trigger_dag": "x"}, "TriggerDagRunOperator 't': unknown argument 'trigger_dag'; did you mean"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        execute(Asked(), **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conf": {"o": SimpleNamespace()}}, "conf['o']: a SimpleNamespace is no JSON"),
        ({"logical_date": "{{ run_id }}"}, "logical_date 'r' is no ISO date; write 2026-03-01T00:00:00+00:00"),
    ],
)
def test_what_turns_out_at_run_time_is_named(arguments, message):
    with pytest.raises(TaskError) as caught:
        execute(Asked(), **arguments)
    assert message in str(caught.value)
