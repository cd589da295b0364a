"""What branches decide to skip, without a worker: the service's part is tested with the scheduler."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from runtime import (
    DAG,
    BaseBranchOperator,
    BranchPythonOperator,
    EmptyOperator,
    LatestOnlyOperator,
    ShortCircuitOperator,
    TaskError,
    TaskGroup,
    task,
)
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.serialize import dag_spec


def decide(make, answer=None, **arguments) -> tuple[object, set[str]]:
    """What the branch returned, and what it skips: it has a, b and c below it, join below these, and a group g."""
    with DAG("d"):
        branch = make(task_id="branch", python_callable=lambda: answer, **arguments)
        a, b, c = (EmptyOperator(task_id=name) for name in "abc")
        with TaskGroup("g") as group:
            EmptyOperator(task_id="first") >> EmptyOperator(task_id="second")
        branch >> [a, b, c, group]
        [a, b] >> EmptyOperator(task_id="join") >> EmptyOperator(task_id="end")
        branch >> EmptyOperator(task_id="drop").as_teardown()
    running = branch.render_template_fields({})
    value = running.execute({"ti": None})
    assert branch.skipped == (), "the decision belongs to one run"
    return value, set(running.skipped)


@pytest.mark.parametrize(
    ("answer", "skipped"),
    [
        ("a", {"b", "c", "g.first"}),
        (["a", "c"], {"b", "g.first"}),
        (("a", "b", "c", "g"), set()),
        ({"c"}, {"a", "b", "g.first"}),
        (None, {"a", "b", "c", "g.first"}),
        ([], {"a", "b", "c", "g.first"}),
        ("g", {"a", "b", "c"}),
        ("join", {"a", "b", "c", "g.first"}),
    ],
)
def test_a_branch_skips_what_is_directly_downstream_and_not_followed(answer, skipped):
    """Never what only comes later, nor a teardown."""
    assert decide(BranchPythonOperator, answer)[1] == skipped


def test_what_comes_after_a_followed_task_is_followed():
    with DAG("d"):
        branch = BranchPythonOperator(task_id="branch", python_callable=lambda: "a")
        a, join = EmptyOperator(task_id="a"), EmptyOperator(task_id="join")
        branch >> [a, join]
        a >> join
    branch.execute({"ti": None})
    assert branch.skipped == ()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("aa", "branch 'branch' wants to follow 'aa': the DAG has no such task or group"),
        (3, "a branch must return a task id, a list of task ids, or None, not 3"),
        ({"a": 1}, "a branch must return a task id, a list of task ids, or None"),
        ([None], "a branch must return task ids, not None"),
    ],
)
def test_a_branch_that_answers_nonsense_fails(answer, message):
    with pytest.raises(TaskError) as caught:
        decide(BranchPythonOperator, answer)
    assert message in str(caught.value)


def test_a_short_circuit_skips_everything_below_or_what_is_next():
    below = {"a", "b", "c", "g.first", "g.second", "join", "end"}
    assert decide(ShortCircuitOperator, 1) == (1, set())
    assert decide(ShortCircuitOperator, 0) == (0, below)
    near = decide(ShortCircuitOperator, "", ignore_downstream_trigger_rules=False)
    assert near == ("", {"a", "b", "c", "g.first"})
    with pytest.raises(ArgumentError, match="ignore_downstream_trigger_rules must be True or False, not 'x'"):
        decide(ShortCircuitOperator, 0, ignore_downstream_trigger_rules="x")


def test_decorated_and_own_branches_are_marked_in_the_spec():
    class Own(BaseBranchOperator):
        def choose_branch(self, context):
            return context["params"]["city"]

    @task.branch
    def branch(): ...

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def short(): ...

    with DAG("d") as dag:
        own = Own(task_id="own")
        own >> [branch(), short()]
    assert {one.task_id: (one.operator, one.decides) for one in dag_spec(dag).tasks} == {
        "own": ("Own", True),
        "branch": ("@task.branch", True),
        "short": ("@task.short_circuit", True),
    }
    assert own.execute({"ti": None, "params": {"city": "short"}}) == "short"
    assert own.skipped == ("branch",)


@pytest.mark.parametrize(
    ("run_type", "age", "skipped"),
    [("scheduled", 0, ()), ("scheduled", 3, ("a",)), ("manual", 3, ()), ("backfill", 3, ("a",))],
)
def test_latest_only_lets_the_newest_scheduled_run_go_on(run_type, age, skipped):
    """The logical date of the newest of a daily schedule lies one to two days back."""
    with DAG("d", schedule="@daily", start_date=datetime(2020, 1, 1, tzinfo=UTC)):
        latest = LatestOnlyOperator(task_id="latest")
        latest >> EmptyOperator(task_id="a")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    run = SimpleNamespace(run_type=run_type, logical_date=today - timedelta(days=1 + age))
    latest.execute({"ti": None, "dag_run": run})
    assert latest.skipped == skipped


def test_a_bash_function_returns_the_command_which_may_hold_templates(context_of):
    @task.bash(env={"WHO": "Ada"})
    def greet(word):
        return f'echo "{word} $WHO in {{{{ params.city }}}} on {{{{ ds }}}}"'

    with DAG("d"):
        operator = greet("hello").operator
    context = context_of()
    assert operator.render_template_fields(context).execute(context) == "hello Ada in Lisbon on 2024-05-01"


@pytest.mark.parametrize("value", ["", "  ", None, 3])
def test_a_bash_function_must_return_a_command(context_of, value):
    with DAG("d"):
        operator = task.bash(lambda: value).override(task_id="t")().operator
    with pytest.raises(TaskError, match="must return a command, not"):
        operator.execute(context_of())


def test_a_bash_function_takes_no_command_besides():
    with DAG("d"), pytest.raises(ArgumentError, match="its function returns the command; leave bash_command out"):
        task.bash(bash_command="x")(lambda: "y").override(task_id="t")()
