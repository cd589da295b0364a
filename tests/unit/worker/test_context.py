"""Template variables and ``ti``: names, forms, and what is said of those that are missing."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from runtime.core.clock import micros, moment
from runtime.core.messages import Done, RunContext, XComPull, XComPush, XComValues, encode
from runtime.worker import macros
from runtime.worker.context import build_context
from runtime.worker.task_instance import XComError

DATE = 1_795_347_005_000_006  # 2026-11-22T11:30:05.000006Z


def context(ask=None, **fields):
    run = RunContext(
        **{
            "dag_id": "d",
            "run_id": "r",
            "task_id": "t",
            "map_index": -1,
            "try_number": 2,
            "max_tries": 3,
            "dispatch_number": 1,
            "rel_path": "d.py",
            "file_hash": "h",
            "run_type": "scheduled",
            "run_after": DATE,
            "logical_date": DATE,
            **fields,
        }
    )
    dag = SimpleNamespace(params={"a": 1, "b": 1, "c": 1})
    return build_context(run, dag, SimpleNamespace(params={"b": 2, "c": 2}), ask)


def test_dates_have_airflows_forms():
    found = context()
    assert {name: found[name] for name in ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")} == {
        "ds": "2026-11-22",
        "ds_nodash": "20261122",
        "ts": "2026-11-22T11:30:05.000006+00:00",
        "ts_nodash": "20261122T113005",
        "ts_nodash_with_tz": "20261122T113005+0000",
    }
    assert found["logical_date"] == found["dag_run"].logical_date == moment(DATE)
    assert found["task_instance_key_str"] == "d__t__20261122"


def test_params_are_those_of_the_dag_then_of_the_task_then_of_the_run():
    assert context(conf={"c": 3, "d": 3})["params"] == {"a": 1, "b": 2, "c": 3, "d": 3}


def test_the_run_and_the_instance_are_there():
    found = context(conf={"x": 1}, data_interval_start=5, data_interval_end=6, task_start_date=7)
    ti, dag_run = found["ti"], found["dag_run"]
    assert found["task_instance"] is ti
    assert (ti.dag_id, ti.task_id, ti.run_id, ti.try_number, ti.max_tries, ti.map_index) == ("d", "t", "r", 2, 3, -1)
    assert (dag_run.run_id, dag_run.run_type, dag_run.conf) == ("r", "scheduled", {"x": 1})
    assert micros(found["data_interval_start"]) == 5
    assert micros(found["data_interval_end"]) == 6
    assert micros(ti.start_date) == 7
    assert str(ti) == "<TaskInstance d.t r try 2>"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ds", "run r has no logical date"),
        ("prev_ds", "runs do not know their predecessor yet"),
        ("execution_date", "renamed to logical_date"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_missing_name_says_why(name, why):
    with pytest.raises(KeyError, match=why):
        context(logical_date=None)[name]


def test_macros():
    assert macros.ds_add("2024-02-28", 2) == "2024-03-01"
    assert macros.ds_format("2024-02-28", "%Y-%m-%d", "%d.%m.%Y") == "28.02.2024"


# -- ti --------------------------------------------------------------------------------------------------------------


def served(values, sent=None):
    """A ``ti`` whose service answers with ``values``, and the requests it sent."""
    sent = [] if sent is None else sent

    def ask(request):
        sent.append(request)
        if isinstance(request, XComPush):
            return encode(Done(True))
        found = tuple((task, index, msgspec.Raw(msgspec.json.encode(value))) for task, index, value in values)
        return encode(XComValues(found))

    return context(ask)["ti"]


@pytest.mark.parametrize(
    ("values", "arguments", "result"),
    [
        ([("a", -1, 1)], {"task_ids": "a"}, 1),
        ([], {"task_ids": "a"}, None),
        ([], {"task_ids": "a", "default": 5}, 5),
        ([("a", 1, "y"), ("a", 0, "x")], {"task_ids": "a"}, ["x", "y"]),
        ([("a", 1, "y")], {"task_ids": "a", "map_indexes": 1}, "y"),
        ([("a", 0, "x"), ("a", 1, "y")], {"task_ids": "a", "map_indexes": [1, 0, 7]}, ["y", "x", None]),
        ([("b", -1, 2), ("a", -1, 1)], {"task_ids": ["a", "b", "c"]}, [1, 2, None]),
        ([("a", 0, 1), ("a", 1, 2), ("b", -1, 3)], {"task_ids": ["a", "b"]}, [1, 2, 3]),
        ([("a", -1, None)], {"task_ids": "a", "default": 5}, None),
    ],
)
def test_xcom_pull(values, arguments, result):
    assert served(values).xcom_pull(**arguments) == result


def test_without_task_ids_a_task_pulls_its_own():
    sent = []
    served([("t", -1, 1)], sent).xcom_pull(key="k")
    assert sent == [XComPull("", "", task_ids=("t",), key="k", map_index=-1)]


def test_other_dags_and_runs_can_be_named():
    sent = []
    served([], sent).xcom_pull("a", dag_id="other", run_id="r2")
    assert (sent[0].dag_id, sent[0].run_id) == ("other", "r2")


def test_a_refusal_is_an_error_with_its_reason():
    refused = context(lambda request: encode(XComValues(reason="the attempt is over")))["ti"]
    with pytest.raises(XComError, match="xcom_pull of key 'return_value' of a, b failed: the attempt is over"):
        refused.xcom_pull(["a", "b"])
