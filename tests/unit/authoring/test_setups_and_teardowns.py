"""Setups and teardowns as authors write them."""

from __future__ import annotations

import pytest

from runtime import DAG, EmptyOperator, setup, task, task_group, teardown
from runtime.authoring.exceptions import ArgumentError, DagFileError
from runtime.authoring.serialize import dag_spec


def empty(task_id: str, **kwargs) -> EmptyOperator:
    return EmptyOperator(task_id=task_id, **kwargs)


def shape(dag: DAG) -> dict[str, tuple[str, ...]]:
    return {one.task_id: one.upstream for one in dag_spec(dag).tasks}


def test_marks_and_rules_reach_the_spec():
    with DAG("d") as dag:
        make, use = empty("make"), empty("use")
        make >> use >> empty("remove").as_teardown(setups=make, on_failure_fail_dagrun=True)
    specs = {one.task_id: one for one in dag_spec(dag).tasks}
    assert (specs["make"].is_setup, specs["use"].is_setup, specs["remove"].is_teardown) == (True, False, True)
    assert specs["remove"].trigger_rule == "all_done_setup_success"
    assert specs["remove"].on_failure_fail_dagrun
    assert shape(dag) == {"make": (), "use": ("make",), "remove": ("make", "use")}


def test_a_with_block_stands_between_setup_and_teardown():
    with DAG("d") as dag:
        outside = empty("outside")
        with empty("remove").as_teardown(setups=empty("make")) as scope:
            empty("a") >> empty("b")
            empty("c")
            scope.add_task(outside)
    assert shape(dag) == {
        "outside": ("make",),
        "remove": ("b", "c", "make", "outside"),
        "make": (),
        "a": ("make",),
        "b": ("a",),
        "c": ("make",),
    }


def test_blocks_nest():
    with (
        DAG("d") as dag,
        empty("t1").as_teardown(setups=empty("s1")),
        empty("t2").as_teardown(setups=empty("s2")),
    ):
        empty("work")
    assert shape(dag) == {"t1": ("s1", "t2"), "s1": (), "t2": ("s2", "work"), "s2": ("s1",), "work": ("s2",)}


def test_decorators_make_setups_and_teardowns():
    @setup
    def make():
        return "name"

    @teardown(on_failure_fail_dagrun=True)
    @task(retries=3)
    def remove(name): ...

    @task
    def use(name): ...

    with DAG("d") as dag:
        name = make()
        with remove(name):
            use(name)
    specs = {one.task_id: one for one in dag_spec(dag).tasks}
    assert (specs["make"].is_setup, specs["remove"].is_teardown, specs["remove"].retries) == (True, True, 3)
    assert shape(dag) == {"make": (), "remove": ("make", "use"), "use": ("make",)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: empty("t").as_setup().as_teardown(), "task 't' is a setup already; it cannot be a teardown, too"),
        (lambda: empty("t").as_teardown().as_setup(), "task 't' is a teardown already; it cannot be a setup, too"),
        (lambda: empty("t", trigger_rule="always").as_teardown(), "a teardown cannot have the trigger rule always"),
        (lambda: empty("t").as_teardown(setups=3), "setups must be tasks"),
        (lambda: empty("t").as_teardown(on_failure_fail_dagrun="x"), "on_failure_fail_dagrun must be True or False"),
        (lambda: empty("t").__enter__(), "task 't' is neither setup nor teardown"),
        (lambda: setup(task_group(lambda: None)), "task groups cannot be setups or teardowns"),
    ],
)
def test_what_cannot_be_used_is_named(make, message):
    with DAG("d"), pytest.raises(ArgumentError) as caught:
        make()
    assert message in str(caught.value)


def test_what_follows_a_setup_must_have_the_rule_that_heeds_it():
    with DAG("d") as dag:
        empty("make").as_setup() >> empty("use", trigger_rule="all_done")
    with pytest.raises(
        DagFileError, match="task 'use' follows the setup 'make' and must have the trigger rule all_succ"
    ):
        dag_spec(dag)
