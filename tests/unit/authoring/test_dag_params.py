"""``Param``: defaults and schemas of DAGs and tasks, as data."""

from __future__ import annotations

from datetime import datetime

import pytest

from runtime import DAG, EmptyOperator, Param, dag
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.serialize import dag_spec


def test_defaults_and_schemas_reach_the_spec():
    made = DAG(
        "d", params={"n": Param(3, "how many", type="integer"), "plain": [1], "any": Param("x"), "must": Param()}
    )
    spec = dag_spec(made)
    assert spec.params == {"n": 3, "plain": [1], "any": "x"}
    assert spec.param_schemas == {"n": {"description": "how many", "type": "integer"}, "must": {"description": ""}}


def test_none_is_a_value_where_the_schema_allows_it_and_else_asks_for_one():
    spec = dag_spec(DAG("d", params={"a": Param(None, type=["null", "string"]), "b": Param(None, type="string")}))
    assert (spec.params, list(spec.param_schemas)) == ({"a": None}, ["a", "b"])


def test_params_of_a_dag_function_may_be_params(context_of):
    default = Param(3, type="integer")

    @dag
    def flow(n=default, m=4):
        EmptyOperator(task_id="t")

    made = flow()
    assert made.params == {"n": 3, "m": 4}
    assert made.param_schemas == {"n": {"type": "integer"}}


def test_tasks_have_params_too():
    with DAG("d"):
        one = EmptyOperator(task_id="t", params={"n": Param(3, type="integer")})
    assert (one.params, one.param_schemas) == ({"n": 3}, {"n": {"type": "integer"}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": Param("x", type="integer")}, "DAG 'd': param 'n' = 'x': 'x' is not of type 'integer' (rule type"),
        ({"n": Param(3, type="intege")}, "DAG 'd': param 'n': its schema['type'] is no JSON schema"),
        ({"n": Param(3, minimum="1")}, "DAG 'd': param 'n': its schema['minimum'] is no JSON schema"),
        ({"n": Param(object())}, "DAG 'd': param 'n': a object is no JSON"),
        ({"n": Param(3, enum=[object()])}, "DAG 'd': param 'n': schema['enum'][0]: a object is no JSON"),
        ({"n": Param(3, description=3)}, "DAG 'd': param 'n': description must be a string, not 3"),
        ({3: 3}, "DAG 'd': params must be a dict with string keys"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        DAG("d", params=arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("param", [Param(type="string"), Param(None, type="string")])
def test_a_scheduled_dag_needs_a_value_for_each(param):
    with pytest.raises(
        ArgumentError, match="param 'p' has no value that its schema allows, and the DAG has a schedule"
    ):
        DAG("d", schedule="@daily", start_date=datetime(2025, 1, 1), params={"p": param})
