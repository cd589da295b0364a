"""Task groups, labels, chains: ids, defaults, edges."""

from __future__ import annotations

import pytest

from runtime import DAG, EmptyOperator, Label, TaskGroup, chain, chain_linear, task, task_group
from runtime.authoring.exceptions import ArgumentError, DagFileError, DuplicateTaskIdError
from runtime.authoring.serialize import dag_spec


def empty(task_id: str, **kwargs) -> EmptyOperator:
    return EmptyOperator(task_id=task_id, **kwargs)


def edges(dag: DAG) -> set[str]:
    return {f"{up}>{one.task_id}" for one in dag.tasks for up in one.upstream_task_ids}


def test_ids_begin_with_those_of_the_groups_unless_they_shall_not():
    with DAG("d") as dag, TaskGroup("a") as outer:
        one = empty("t")
        with TaskGroup("b"):
            empty("t")
        with TaskGroup("c", prefix_group_id=False):
            empty("u")
    assert dag.task_ids == ["a.t", "a.b.t", "a.u"]
    assert (one.label, one.task_group, outer.get_child_by_label("t")) == ("t", outer, one)
    spec = dag_spec(dag)
    assert [(g.group_id, g.parent) for g in spec.groups] == [("a", None), ("a.b", "a"), ("a.c", "a")]
    assert [t.group for t in spec.tasks] == ["a", "a.b", "a.c"]


def test_a_group_stands_for_its_first_and_last_tasks():
    with DAG("d") as dag:
        with TaskGroup("g") as group:
            a, b, c = empty("a"), empty("b"), empty("c")
            a >> b
        empty("before") >> group >> empty("after")
        with TaskGroup("h") as other:
            empty("x")
        group >> other
    assert c.task_id == "g.c"
    assert edges(dag) == {
        "g.a>g.b",
        "before>g.a",
        "before>g.c",
        "g.b>after",
        "g.c>after",
        "g.b>h.x",
        "g.c>h.x",
    }


def test_a_teardown_is_not_the_end_of_a_group():
    """What follows the group waits for the work, not for the clearing up."""
    with DAG("d") as dag:
        with TaskGroup("g") as group:
            make, use, remove = empty("make"), empty("use"), empty("remove")
            make >> use >> remove.as_teardown(setups=make)
        group >> empty("after")
    assert dag.get_task("after").upstream_task_ids == {"g.use"}


def test_default_args_of_the_inner_group_go_first():
    with DAG("d", default_args={"retries": 1, "owner": "dag", "queue": "q"}):
        with TaskGroup("a", default_args={"retries": 2, "owner": "group"}):
            with TaskGroup("b", default_args={"retries": 3}):
                inner = empty("t")
            own = empty("t", retries=4)
        outside = empty("t")
    assert [(t.retries, t.owner, t.queue) for t in (inner, own, outside)] == [
        (3, "group", "q"),
        (4, "group", "q"),
        (1, "dag", "q"),
    ]


def test_a_task_group_function_makes_a_group_of_each_call():
    @task
    def double(x):
        return 2 * x

    @task_group
    def steps(x):
        """What it does."""
        return double(double(x))

    @task_group(group_id="plain", prefix_group_id=False)
    def nothing():
        empty("n")

    with DAG("d") as dag:
        steps(steps(1))
        made = nothing()
        steps.override(group_id="renamed")(2)
    assert dag.task_ids[:4] == ["steps.double", "steps.double__1", "steps__1.double", "steps__1.double__1"]
    assert "steps.double__1>steps__1.double" in edges(dag)
    assert list(dag.groups) == ["steps", "steps__1", "plain", "renamed"]
    assert dag.groups["steps"].tooltip == "What it does."
    assert isinstance(made, TaskGroup)


def test_labels_of_edges_in_every_direction_and_between_groups():
    with DAG("d") as dag:
        a, b, c, e = (empty(name) for name in "abce")
        with TaskGroup("g") as group:
            empty("x")
        a >> Label("to b") >> b
        c << Label("to c") << a
        [b, c] >> Label("both") >> group
        chain(group, Label("end"), e)
    assert dag_spec(dag).edge_labels == {
        "a": {"b": "to b", "c": "to c"},
        "b": {"g.x": "both"},
        "c": {"g.x": "both"},
        "g.x": {"e": "end"},
    }
    assert edges(dag) == {"a>b", "a>c", "b>g.x", "c>g.x", "g.x>e"}


def test_chain_linear_crosses_neighbouring_lists():
    with DAG("d") as dag:
        a, b, c, e, f = (empty(name) for name in "abcef")
        chain_linear(a, [b, c], [e, f])
    assert edges(dag) == {"a>b", "a>c", "b>e", "b>f", "c>e", "c>f"}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: [TaskGroup("g"), TaskGroup("g")], DuplicateTaskIdError, "two tasks or groups 'g'; rename one"),
        (lambda: [empty("g"), TaskGroup("g")], DuplicateTaskIdError, "two tasks or groups 'g'; rename one"),
        (lambda: [TaskGroup("g"), empty("g")], DuplicateTaskIdError, "a task and a group 'g'; rename one"),
        (lambda: TaskGroup("a b"), ArgumentError, "group_id 'a b' is not allowed"),
        (lambda: TaskGroup("g", tooltp="x"), ArgumentError, "unknown argument 'tooltp'; did you mean 'tooltip'?"),
        (lambda: TaskGroup("g", tooltip=3), ArgumentError, "TaskGroup 'g': tooltip must be a string, not 3"),
        (lambda: TaskGroup("g", prefix_group_id="no"), ArgumentError, "prefix_group_id must be True or False"),
        (lambda: TaskGroup("g").get_child_by_label("x"), DagFileError, "'g' has no task or group 'x'"),
        (lambda: Label(""), ArgumentError, "Label: its text is empty"),
        (lambda: chain_linear([empty("a"), empty("b")]), ArgumentError, "chain_linear relates nothing"),
        (lambda: chain_linear(empty("a"), Label("x"), empty("b")), ArgumentError, "takes no Label"),
        (task_group(print).override(group_id=3), ArgumentError, "group_id must be a string, not 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(make, error, message):
    with DAG("d"), pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_a_group_needs_a_dag():
    with pytest.raises(ArgumentError, match=r"TaskGroup 'g' belongs to no DAG; make it inside `with DAG\(...\)`"):
        TaskGroup("g")
