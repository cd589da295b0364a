"""DAGs as users write them: arguments, context manager, decorator, order of tasks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

import runtime
from runtime import DAG, EmptyOperator, chain, cross_downstream, dag, task
from runtime.authoring.exceptions import ArgumentError, CycleError, DagFileError, DuplicateTaskIdError
from runtime.authoring.serialize import dag_spec, unused_default_args
from runtime.core.clock import micros
from runtime.core.specs import encode


def empty(task_id: str, **kwargs) -> EmptyOperator:
    return EmptyOperator(task_id=task_id, **kwargs)


def edges(made: DAG) -> set[tuple[str, str]]:
    return {(upstream, task.task_id) for task in made.tasks for upstream in task.upstream_task_ids}


def test_the_names_of_the_package_are_loaded_when_used():
    assert set(runtime.__all__) <= set(dir(runtime))
    for name in runtime.__all__:
        assert getattr(runtime, name) is not None
    with pytest.raises(AttributeError, match="module 'runtime' has no attribute 'Nothing'"):
        _ = runtime.Nothing


class TestSchedules:
    @pytest.mark.parametrize(
        ("schedule", "kind", "expression", "seconds", "summary"),
        [
            ("@daily", "cron", "0 0 * * *", 0.0, "@daily"),
            ("@hourly", "cron", "0 * * * *", 0.0, "@hourly"),
            ("@weekly", "cron", "0 0 * * 0", 0.0, "@weekly"),
            ("@monthly", "cron", "0 0 1 * *", 0.0, "@monthly"),
            ("@yearly", "cron", "0 0 1 1 *", 0.0, "@yearly"),
            (" 0 3 * * 1-5 ", "cron", "0 3 * * 1-5", 0.0, "0 3 * * 1-5"),
            (timedelta(minutes=90), "interval", "", 5400.0, "1:30:00"),
            (None, "none", "", 0.0, "None"),
        ],
    )
    def test_forms(self, schedule, kind, expression, seconds, summary):
        timetable = dag_spec(DAG("d", schedule=schedule)).timetable
        assert (timetable.kind, timetable.expression, timetable.seconds) == (kind, expression, seconds)
        assert timetable.summary == summary

    @pytest.mark.parametrize(
        ("start", "zone", "expected"),
        [
            (datetime(2024, 5, 1), None, "UTC"),
            (datetime(2024, 5, 1, tzinfo=UTC), None, "UTC"),
            (datetime(2024, 5, 1, tzinfo=ZoneInfo("Asia/Tokyo")), None, "Asia/Tokyo"),
            (datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=-3))), None, "-03:00"),
            (datetime(2024, 5, 1, tzinfo=UTC), "Europe/Berlin", "Europe/Berlin"),
            (None, ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        ],
    )
    def test_the_zone_is_that_of_the_start_date_unless_given(self, start, zone, expected):
        assert DAG("d", start_date=start, timezone=zone).timetable.timezone == expected

    def test_dates_without_a_zone_are_in_that_of_the_dag(self):
        berlin = DAG("d", start_date=datetime(2024, 5, 1), timezone="Europe/Berlin")
        assert berlin.start_date == micros(datetime(2024, 4, 30, 22, tzinfo=UTC))
        assert DAG("d", start_date=date(2024, 5, 1)).start_date == micros(datetime(2024, 5, 1, tzinfo=UTC))

    def test_dates_of_default_args_count(self):
        made = DAG("d", default_args={"start_date": datetime(2024, 5, 1), "end_date": datetime(2024, 6, 1)})
        assert made.start_date == micros(datetime(2024, 5, 1, tzinfo=UTC))
        assert made.end_date == micros(datetime(2024, 6, 1, tzinfo=UTC))


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"shedule": "@daily"}, "DAG 'd': unknown argument 'shedule'; did you mean 'schedule'?"),
            ({"schedule_interval": "@daily"}, "DAG 'd': argument 'schedule_interval' is called 'schedule' here"),
            ({"concurrency": 3}, "DAG 'd': argument 'concurrency' is called 'max_active_tasks' here"),
            ({"xyz": 3}, "DAG 'd': unknown argument 'xyz'"),
            ({"catchup": "no"}, "DAG 'd': catchup must be True or False, not 'no'"),
            ({"max_active_runs": 0}, "DAG 'd': max_active_runs = 0; it must be at least 1"),
            ({"max_active_tasks": "4"}, "DAG 'd': max_active_tasks must be a whole number, not '4'"),
            ({"dagrun_timeout": -1}, "DAG 'd': dagrun_timeout of -1 seconds; it must be above 0"),
            ({"dagrun_timeout": "1h"}, "DAG 'd': dagrun_timeout must be a timedelta or a number of seconds, not '1h'"),
            ({"tags": "daily"}, "DAG 'd': tags must be a list of strings; write tags=['daily']"),
            ({"params": {"at": date(2024, 1, 1)}}, "DAG 'd': params['at']: a date is no JSON; use dicts, lists, "
             "strings, numbers, True, False or None"),
            ({"params": [1]}, "DAG 'd': params must be a dict with string keys, not [1]"),
            ({"default_args": "x"}, "DAG 'd': default_args must be a dict with string keys, not 'x'"),
            ({"schedule": "@dayly"}, "DAG 'd': unknown schedule preset '@dayly'; did you mean '@daily'?"),
            ({"schedule": "@onec"}, "DAG 'd': unknown schedule preset '@onec'; did you mean '@once'?"),
            ({"schedule": "dayly"}, "DAG 'd': no timetable is registered as 'dayly'; did you mean '@daily'?"),
            ({"schedule": "@continuous", "max_active_runs": 2}, "DAG 'd': max_active_runs = 2; schedule '@continuous' "
             "runs one at a time, use 1"),
            ({"schedule": 3600}, "DAG 'd': schedule must be a cron expression, a preset, a timedelta, a timetable or "
             "None, not 3600"),
            ({"max_consecutive_failed_dag_runs": -1}, "DAG 'd': max_consecutive_failed_dag_runs = -1; it must be at "
             "least 0"),
            ({"on_failure_callback": "mail"}, "DAG 'd': on_failure_callback must be a function that takes the context, "
             "or a list, not 'mail'"),
            ({"start_date": "2024-01-01"}, "DAG 'd': start_date must be a datetime, not '2024-01-01'"),
            ({"timezone": 3}, "DAG 'd': timezone must be a name such as 'Europe/Berlin', not 3"),
            ({"executor": ""}, "DAG 'd': executor is empty; name an executor or leave it out"),
            ({"executor": []}, "DAG 'd': executor is an empty list; name an executor or leave it out"),
            ({"executor": ["a", ""]}, "DAG 'd': executor is empty; name an executor or leave it out"),
            ({"executor": ["a", 3]}, "DAG 'd': executor must be names of executors, not 3"),
            ({"executor": ["a", "b", "a "]}, "DAG 'd': executor names one executor twice: a, b, a"),
            ({"executor": {"a"}}, "DAG 'd': executor must be the name of an executor, or a list of names, not {'a'}"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used_is_named(self, arguments, message):
        with pytest.raises(ArgumentError) as caught:
            DAG("d", **arguments)
        assert str(caught.value) == message

    @pytest.mark.parametrize("dag_id", ["", "a b", "a/b", "../x", "ü", "x" * 251])
    def test_illegal_ids(self, dag_id):
        with pytest.raises(ArgumentError, match=r"^dag_id '.*' is not allowed; use at most 250 letters, digits"):
            DAG(dag_id)

    def test_an_id_must_be_text(self):
        with pytest.raises(ArgumentError, match="dag_id must be a string, not 7"):
            DAG(7)

    def test_everything_reaches_the_spec(self):
        with DAG(
            "d",
            description="text",
            start_date=datetime(2024, 5, 1),
            end_date=datetime(2025, 5, 1),
            catchup=True,
            max_active_runs=2,
            max_active_tasks=3,
            dagrun_timeout=timedelta(hours=1),
            params={"n": 1, "nested": {"list": [1, None]}},
            tags={"b", "a"},
            is_paused_upon_creation=False,
            default_args={"owner": "ops"},
        ) as made:
            empty("a")
            empty("b", owner="dev")
        spec = dag_spec(made)
        assert (spec.description, spec.catchup, spec.max_active_runs, spec.max_active_tasks) == ("text", True, 2, 3)
        assert (spec.dagrun_timeout, spec.is_paused_upon_creation, spec.tags) == (3600.0, False, ("a", "b"))
        assert spec.params == {"n": 1, "nested": {"list": [1, None]}}
        assert spec.owner == "dev, ops"


class TestOrder:
    def test_arrows_with_lists_on_either_side(self):
        with DAG("d") as made:
            a, b, c, x, y = (empty(name) for name in "abcxy")
            a >> [b, c] >> x
            y << [b, c]
        assert edges(made) == {("a", "b"), ("a", "c"), ("b", "x"), ("c", "x"), ("b", "y"), ("c", "y")}

    def test_methods_and_nested_lists(self):
        with DAG("d") as made:
            a, b, c = (empty(name) for name in "abc")
            a.set_downstream([b, [c]])
            c.set_upstream(b)
        assert edges(made) == {("a", "b"), ("a", "c"), ("b", "c")}
        assert [task.task_id for task in a.downstream_list] == ["b", "c"]
        assert [task.task_id for task in c.upstream_list] == ["a", "b"]

    def test_chain_pairs_neighbouring_lists(self):
        with DAG("d") as made:
            a, b1, b2, c1, c2, z = (empty(name) for name in ("a", "b1", "b2", "c1", "c2", "z"))
            chain(a, [b1, b2], [c1, c2], z)
        assert edges(made) == {("a", "b1"), ("a", "b2"), ("b1", "c1"), ("b2", "c2"), ("c1", "z"), ("c2", "z")}

    def test_chain_wants_equally_long_lists(self):
        with DAG("d"):
            a, b, c = (empty(name) for name in "abc")
            with pytest.raises(ArgumentError, match="chain: a list of 1 tasks is followed by one of 2"):
                chain([a], [b, c])

    def test_cross_downstream(self):
        with DAG("d") as made:
            a, b, c, d = (empty(name) for name in "abcd")
            cross_downstream([a, b], [c, d])
        assert edges(made) == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}

    def test_a_function_that_was_not_called_is_no_task(self):
        with DAG("d"), pytest.raises(ArgumentError, match=r"not to <function .*; call it first: name\(\)"):
            empty("a") >> chain

    def test_a_cycle_is_named_in_the_order_of_execution(self):
        with DAG("d") as made:
            a, b, c, z = (empty(name) for name in "abcz")
            a >> b >> c >> a
            c >> z
        with pytest.raises(CycleError) as caught:
            dag_spec(made)
        assert str(caught.value) == "DAG 'd' has a cycle: a → b → c → a"

    def test_a_task_cannot_follow_itself(self):
        with DAG("d"):
            a = empty("a")
            with pytest.raises(DagFileError, match="task 'a' cannot run after itself"):
                a >> a

    def test_tasks_of_two_dags_cannot_be_related(self):
        with DAG("one"):
            a = empty("a")
        with DAG("two"):
            b = empty("b")
        with pytest.raises(DagFileError, match="task 'a' of DAG 'one' and task 'b' of DAG 'two' cannot be related"):
            a >> b

    def test_a_task_without_a_dag_joins_that_of_its_relative(self):
        made = DAG("d")
        a = empty("a", dag=made)
        empty("b").set_upstream(a)
        assert made.task_ids == ["a", "b"]

    def test_duplicate_ids(self):
        with DAG("d"):
            empty("a")
            with pytest.raises(DuplicateTaskIdError, match="DAG 'd' has two tasks 'a'; rename one"):
                empty("a")


class TestDecorator:
    def test_each_call_makes_the_dag(self):
        @dag(schedule="@daily", tags=["t"])
        def flow(n: int = 3):
            """Words for people."""
            empty("a")

        made = flow(5)
        assert (made.dag_id, made.task_ids, made.params) == ("flow", ["a"], {"n": 5})
        assert made.doc_md == "Words for people."
        assert dag_spec(made).timetable.summary == "@daily"

    def test_without_parentheses_and_with_another_id(self):
        @dag
        def plain():
            empty("a")

        @dag("other")
        def named():
            empty("a")

        assert (plain().dag_id, named().dag_id) == ("plain", "other")

    def test_parameters_are_references_inside(self, context_of):
        @task
        def show(n):
            return n

        @dag
        def flow(n=3):
            show(n)

        operator = flow().get_task("show")
        context = context_of()
        assert operator.render_template_fields(context).execute(context) == 3
        context["params"] = {"n": 9}
        assert operator.render_template_fields(context).execute(context) == 9


class TestSpec:
    def test_the_same_dag_gives_the_same_bytes(self):
        def make():
            with DAG("d", tags={"x", "y", "z"}) as made:
                tasks = [empty(f"t{number}") for number in range(20)]
                empty("join") << tasks
            return encode(dag_spec(made))

        assert make() == make()

    def test_a_misspelt_default_is_told(self):
        with DAG("d", default_args={"retires": 3, "bash_command": "x", "start_date": datetime(2024, 1, 1)}) as made:
            empty("a")
        assert unused_default_args(made) == [
            "DAG 'd': no task takes 'retires' of default_args, it has no effect; did you mean 'retries'?",
            "DAG 'd': no task takes 'bash_command' of default_args, it has no effect",
        ]

    def test_a_task_asked_for_that_is_not_there(self):
        with DAG("d") as made:
            empty("extract")
        with pytest.raises(DagFileError, match="DAG 'd' has no task 'extrakt'; did you mean 'extract'"):
            made.get_task("extrakt")
