"""``@task`` and ``PythonOperator``: calls, context arguments, XComs as arguments."""

from __future__ import annotations

import functools
from typing import TypedDict

import pytest

from runtime import DAG, PythonOperator, XComArg, get_current_context, task
from runtime.authoring.context import active
from runtime.authoring.exceptions import ArgumentError, TaskError, XComNotFound


@task
def one(n=1):
    return n


def run(operator, context):
    return operator.render_template_fields(context).execute(context)


class TestCalls:
    def test_each_call_is_a_task_with_an_id_of_its_own(self):
        with DAG("d") as dag:
            for _ in range(3):
                one()
            one.override(task_id="other")()
        assert dag.task_ids == ["one", "one__1", "one__2", "other"]

    def test_a_result_as_an_argument_is_an_edge(self, context_of):
        @task
        def add(numbers, extra):
            return sum(numbers) + extra["more"]

        with DAG("d") as dag:
            add([one(), one(5)], extra={"more": one(7)})
        operator = dag.get_task("add")
        assert operator.upstream_task_ids == {"one", "one__1", "one__2"}
        assert run(operator, context_of(one=1, one__1=5, one__2=7)) == 13

    def test_output_of_an_operator(self, context_of):
        with DAG("d"):
            first = PythonOperator(task_id="first", python_callable=lambda: 3)
            second = PythonOperator(task_id="second", python_callable=lambda x: x * 2, op_args=[first.output])
        assert second.upstream_task_ids == {"first"}
        assert run(second, context_of(first=3)) == 6

    def test_results_stand_in_arrows(self):
        with DAG("d") as dag:
            a, b, c = one(), one(), one()
            a >> [b, c]
            c << b
        assert dag.get_task("one__2").upstream_task_ids == {"one", "one__1"}

    def test_override_keeps_the_rest(self):
        @task(retries=2, pool="p")
        def f(): ...

        with DAG("d") as dag:
            f.override(retries=5)()
        assert (dag.get_task("f").retries, dag.get_task("f").pool) == (5, "p")

    def test_templates_in_arguments_are_rendered(self, context_of):
        with DAG("d") as dag:
            one("{{ ds }}")
        assert run(dag.get_task("one"), context_of()) == "2024-05-01"

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: one(1, 2), r"task 'one': too many positional arguments; it is defined as \(n=1\)"),
            (lambda: one(m=1), r"task 'one': got an unexpected keyword argument 'm'"),
            (task(lambda a: a), r"missing a required argument: 'a'"),
            (one.override(retires=1), r"DecoratedOperator 'one': unknown argument 'retires'; did you mean"),
            (lambda: task(3), r"@task decorates a function, not 3"),
            (lambda: one.expand(n=[1]), r"task 'one': .expand\(\) is not supported yet"),
        ],
    )
    def test_a_call_that_cannot_work_fails_when_the_file_is_read(self, call, message):
        with DAG("d"), pytest.raises(ArgumentError, match=message):
            call()

    def test_decorators_of_later_versions(self):
        with pytest.raises(AttributeError, match="@task.sensor is not supported yet"):
            task.sensor(lambda: 1)
        assert task.python is task

    def test_the_function_stays_reachable(self):
        assert one.function(4) == 4
        assert one.__name__ == "one"


class TestContext:
    def test_a_callable_gets_what_its_signature_names(self, context_of):
        @task
        def f(own, ds, run_id=None, **rest):
            return own, ds, run_id, sorted(rest)

        with DAG("d") as dag:
            f(1)
        assert run(dag.get_task("f"), context_of()) == (1, "2024-05-01", "r1", ["params", "task_instance", "ti"])

    def test_without_kwargs_it_gets_nothing_else(self, context_of):
        with DAG("d"):
            operator = PythonOperator(task_id="t", python_callable=lambda ds: ds)
        assert run(operator, context_of()) == "2024-05-01"

    def test_a_given_argument_wins_over_the_context(self, context_of):
        with DAG("d"):
            operator = PythonOperator(task_id="t", python_callable=lambda ds: ds, op_kwargs={"ds": "mine"})
        assert run(operator, context_of()) == "mine"

    def test_a_position_may_not_take_a_context_name(self, context_of):
        with DAG("d"):
            operator = PythonOperator(task_id="t", python_callable=lambda ds: ds, op_args=["x"])
        with pytest.raises(TaskError, match="positional argument 'ds' has the name of a context key"):
            run(operator, context_of())

    def test_context_names_may_come_before_own_ones(self):
        @task
        def f(ds, own): ...

        with DAG("d") as dag:
            f(own=1)
            with pytest.raises(ArgumentError, match="missing a required"):
                f()
        assert dag.task_ids == ["f"]

    def test_callables_of_other_kinds(self, context_of):
        class Callable:
            def __call__(self, ds):
                return ds

        with DAG("d"):
            made = PythonOperator(task_id="a", python_callable=Callable())
            part = PythonOperator(task_id="b", python_callable=functools.partial(lambda x, ds: (x, ds), 1))
        assert run(made, context_of()) == "2024-05-01"
        assert run(part, context_of()) == (1, "2024-05-01")

    def test_templates_dict_is_rendered_and_handed_over(self, context_of):
        with DAG("d"):
            operator = PythonOperator(
                task_id="t", python_callable=lambda templates_dict: templates_dict, templates_dict={"day": "{{ ds }}"}
            )
        assert run(operator, context_of()) == {"day": "2024-05-01"}

    def test_the_current_context(self, context_of):
        context = context_of()
        with active(context):
            assert get_current_context() is context
        with pytest.raises(RuntimeError, match="only while a task runs"):
            get_current_context()


class TestXComArgs:
    def test_a_task_that_returned_nothing_gives_none(self, context_of):
        with DAG("d") as dag:
            one(one())
        assert run(dag.get_task("one__1"), context_of()) is None

    def test_another_key_that_was_never_written_is_an_error(self, context_of):
        with DAG("d") as dag:
            one(one()["rows"])
        with pytest.raises(XComNotFound) as caught:
            run(dag.get_task("one__1"), context_of(one=3))
        assert str(caught.value) == (
            "task 'one' wrote no XCom 'rows'; push it with ti.xcom_push, "
            "or return a dict from a task with multiple_outputs=True"
        )

    def test_a_key_is_pulled_by_its_name(self, context_of):
        context = context_of()
        context["ti"].values["one", "rows"] = 12
        with DAG("d") as dag:
            one(one()["rows"])
        assert run(dag.get_task("one__1"), context) == 12

    def test_it_has_no_value_when_the_file_is_read(self):
        with DAG("d"):
            result = one()
        with pytest.raises(TypeError, match="no value before its task has run"):
            list(result)
        with pytest.raises(ArgumentError, match="an XCom key is a string"):
            result[0]

    def test_as_text_it_is_a_template(self):
        with DAG("d"):
            result = one()
        assert str(result) == "{{ ti.xcom_pull(task_ids='one', dag_id='d', key='return_value') }}"
        assert isinstance(result, XComArg)

    def test_dictionaries_are_taken_apart_where_the_annotation_says_so(self):
        class Row(TypedDict):
            a: int

        @task
        def plain(): ...

        @task
        def typed() -> dict[str, int]: ...

        @task
        def row() -> Row: ...

        @task(multiple_outputs=False)
        def refused() -> dict: ...

        with DAG("d") as dag:
            for function in (plain, typed, row, refused):
                function()
        flags = {operator.task_id: operator.multiple_outputs for operator in dag.tasks}
        assert flags == {"plain": False, "typed": True, "row": False, "refused": False}
