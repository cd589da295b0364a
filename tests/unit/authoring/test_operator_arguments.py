"""Operators: arguments, ``default_args``, where they want to run."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from runtime import DAG, BaseOperator, BashOperator, EmptyOperator, PythonOperator, TriggerRule, task
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.serialize import dag_spec
from runtime.core.specs import TaskSpec


def spec_of(dag: DAG, task_id: str) -> TaskSpec:
    return next(spec for spec in dag_spec(dag).tasks if spec.task_id == task_id)


class TestChecks:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"retires": 3}, "EmptyOperator 't': unknown argument 'retires'; did you mean 'retries'?"),
            ({"retries": -1}, "task 't': retries = -1; it must be at least 0"),
            ({"retries": True}, "task 't': retries must be a whole number, not True"),
            ({"retries": 2**31}, "task 't': retries = 2147483648 is beyond 2147483647"),
            ({"retry_delay": -1}, "task 't': retry_delay of -1 seconds; it must be at least 0"),
            ({"retry_delay": "5m"}, "task 't': retry_delay must be a timedelta or a number of seconds, not '5m'"),
            ({"execution_timeout": 0}, "task 't': execution_timeout of 0 seconds; it must be above 0"),
            ({"trigger_rule": "alldone"}, "task 't': unknown trigger_rule 'alldone'; did you mean 'all_done'?"),
            ({"trigger_rule": None}, "task 't': trigger_rule must be one of all_success, all_failed, all_done, "
             "all_done_min_one_success, all_done_setup_success, all_skipped, one_success, one_failed, one_done, "
             "none_failed, none_failed_min_one_success, none_skipped, always, not None"),
            ({"weight_rule": "sideways"}, "task 't': unknown weight_rule 'sideways'; use one of downstream, upstream, "
             "absolute"),
            ({"pool": ""}, "task 't': pool is empty"),
            ({"pool_slots": 0}, "task 't': pool_slots = 0; it must be at least 1"),
            ({"queue": 5}, "task 't': queue must be a string, not 5"),
            ({"executor": " "}, "task 't': executor is empty; name an executor or leave it out"),
            ({"executor": 3}, "task 't': executor must be the name of an executor, or a list of names, not 3"),
            ({"executor_config": "x"}, "task 't': executor_config must be a dict, not 'x'"),
            ({"executor_config": {"pod": {"spec": [object()]}}}, "task 't': executor_config['pod']['spec'][0]: a "
             "object is no JSON; use dicts, lists, strings, numbers, True, False or None"),
            ({"executor_config": {1: 2}}, "task 't': executor_config: key 1 is no string"),
            ({"executor_config": {"cpu": float("nan")}}, "task 't': executor_config['cpu']: nan is no JSON; use dicts, "
             "lists, strings, numbers, True, False or None"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_is_named(self, arguments, message):
        with pytest.raises(ArgumentError) as caught:
            EmptyOperator(task_id="t", **arguments)
        assert str(caught.value) == message

    @pytest.mark.parametrize("task_id", ["", "a b", "a/b", "..", "x" * 251, 7])
    def test_illegal_ids(self, task_id):
        with pytest.raises(ArgumentError, match="^task_id "):
            EmptyOperator(task_id=task_id)

    def test_arguments_have_names(self):
        with pytest.raises(ArgumentError, match="EmptyOperator: pass arguments by name, not 'a' by position"):
            EmptyOperator("a")
        with pytest.raises(ArgumentError, match="EmptyOperator: task_id is missing"):
            EmptyOperator()

    def test_errors_are_type_errors_too(self):
        """As Python's own about arguments are; scripts catch them so."""
        with pytest.raises(TypeError):
            EmptyOperator(task_id="t", retires=1)

    def test_an_init_that_forgets_its_base(self):
        class Careless(BaseOperator):
            def __init__(self, **kwargs):
                pass

        with pytest.raises(ArgumentError, match=r"Careless 't': its __init__ must call super\(\).__init__"):
            Careless(task_id="t")

    def test_a_template_field_that_is_no_attribute(self):
        class Careless(BaseOperator):
            template_fields = ("sql",)

        with pytest.raises(ArgumentError, match="Careless 't': template field 'sql' is no attribute"):
            Careless(task_id="t")

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: BashOperator(task_id="t", bash_command=""), "task 't': bash_command is empty"),
            (lambda: BashOperator(task_id="t", bash_command=["ls"]), "task 't': bash_command must be a string"),
            (
                lambda: BashOperator(task_id="t", bash_command="x", skip_on_exit_code=0),
                "must be exit codes of 1 to 255",
            ),
            (lambda: PythonOperator(task_id="t", python_callable="f"), "python_callable must be a function, not 'f'"),
            (lambda: PythonOperator(task_id="t", python_callable=print, op_args="a"), r"op_args must be a list"),
        ],
    )
    def test_arguments_of_the_operators(self, make, message):
        with pytest.raises(ArgumentError, match=message):
            make()


class TestDefaults:
    def test_everything_reaches_the_spec(self):
        with DAG("d") as dag:
            EmptyOperator(
                task_id="t",
                retries=2,
                retry_delay=timedelta(minutes=1),
                execution_timeout=30,
                trigger_rule=TriggerRule.ALL_DONE,
                pool="p",
                pool_slots=3,
                queue="q",
                executor="heavy",
                executor_config={"cpu": 2},
                owner="me",
            )
        assert spec_of(dag, "t") == TaskSpec(
            task_id="t",
            operator="EmptyOperator",
            trigger_rule="all_done",
            retries=2,
            retry_delay=60.0,
            execution_timeout=30.0,
            pool="p",
            pool_slots=3,
            queue="q",
            executor="heavy",
            executor_source="task",
            executor_config={"cpu": 2},
            owner="me",
            empty=True,
        )

    def test_the_task_wins_over_its_own_default_args_and_those_over_the_dags(self):
        with DAG("d", default_args={"retries": 1, "pool": "p", "owner": "dag"}):
            plain = EmptyOperator(task_id="a")
            own = EmptyOperator(task_id="b", default_args={"retries": 2})
            said = EmptyOperator(task_id="c", retries=3)
        assert [task.retries for task in (plain, own, said)] == [1, 2, 3]
        assert [task.pool for task in (plain, own, said)] == ["p", "p", "p"]

    def test_arguments_of_subclasses_come_from_default_args(self):
        class Query(BaseOperator):
            def __init__(self, *, sql, limit=10, **kwargs):
                super().__init__(retries=7, **kwargs)
                self.sql, self.limit = sql, limit

        with DAG("d", default_args={"sql": "SELECT 1", "retries": 1, "bash_command": "ignored"}):
            query = Query(task_id="q")
        assert (query.sql, query.limit, query.retries) == ("SELECT 1", 10, 7)

    def test_decorated_tasks_take_them_too(self):
        @task
        def f(): ...

        with DAG("d", default_args={"retries": 4}) as dag:
            f()
        assert dag.get_task("f").retries == 4


class TestPlacement:
    def test_who_asked_for_the_executor_is_kept(self):
        with DAG("d", executor="for_dag", default_args={"executor": "by_default"}) as dag:
            EmptyOperator(task_id="own", executor="mine")
            EmptyOperator(task_id="default")
            EmptyOperator(task_id="none", executor=None)
        chosen = {spec.task_id: (spec.executor, spec.executor_source) for spec in dag_spec(dag).tasks}
        assert chosen == {
            "own": ("mine", "task"),
            "default": ("by_default", "default_args"),
            "none": ("for_dag", "dag"),
        }

    def test_nobody_asked(self):
        with DAG("d") as dag:
            EmptyOperator(task_id="t")
        assert (spec_of(dag, "t").executor, spec_of(dag, "t").executor_source) == (None, None)

    def test_an_operator_class_that_fixes_its_executor_is_the_task_speaking(self):
        class Gpu(BaseOperator):
            def __init__(self, **kwargs):
                super().__init__(executor="gpu", **kwargs)

        with DAG("d", default_args={"executor": "other"}) as dag:
            Gpu(task_id="t")
        assert (spec_of(dag, "t").executor, spec_of(dag, "t").executor_source) == ("gpu", "task")

    def test_objects_that_know_their_dictionary_become_it(self):
        class V1Pod:
            def to_dict(self):
                return {"spec": {"containers": [{"name": "base", "image": None}]}}

        with DAG("d") as dag:
            EmptyOperator(task_id="t", executor_config={"pod_override": V1Pod(), "ports": (1, 2)})
        assert spec_of(dag, "t").executor_config == {
            "pod_override": {"spec": {"containers": [{"name": "base", "image": None}]}},
            "ports": [1, 2],
        }

    def test_weights_follow_their_rule(self):
        with DAG("d") as dag:
            a = EmptyOperator(task_id="a")
            b = EmptyOperator(task_id="b", priority_weight=10, weight_rule="absolute")
            c = EmptyOperator(task_id="c", priority_weight=5, weight_rule="upstream")
            a >> b >> c
        assert {spec.task_id: spec.priority_weight for spec in dag_spec(dag).tasks} == {"a": 16, "b": 10, "c": 16}


def test_an_empty_subclass_with_work_to_do_is_not_empty():
    class Busy(EmptyOperator):
        def execute(self, context):
            return 1

    with DAG("d", start_date=datetime(2024, 1, 1)) as dag:
        Busy(task_id="t")
    assert not spec_of(dag, "t").empty


def test_an_operator_without_execute_says_so():
    class Lazy(BaseOperator):
        pass

    with pytest.raises(NotImplementedError, match=r"Lazy has no execute\(self, context\)"):
        Lazy(task_id="t").execute({})
