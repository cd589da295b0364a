"""Templates in operator fields: compiled once, rendered on a copy."""

from __future__ import annotations

from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime import DAG, BaseOperator, BashOperator
from runtime.authoring.exceptions import DagFileError, TaskError

Pair = namedtuple("Pair", "left right")  # noqa: PYI024  user code has such


class Sql(BaseOperator):
    template_fields = ("sql", "options")
    template_ext = (".sql",)

    def __init__(self, *, sql, options=None, **kwargs):
        super().__init__(**kwargs)
        self.sql, self.options = sql, options


def sql(text, options=None, folder: Path | None = None) -> Sql:
    with DAG("d") as dag:
        operator = Sql(task_id="t", sql=text, options=options)
    if folder is not None:
        dag.templates._folder = folder
    return operator


def rendered(operator, context):
    return operator.render_template_fields(context)


def test_strings_are_rendered_wherever_they_stand(context_of):
    options = {"days": ["{{ ds }}", 3], "pair": Pair("{{ params.city }}", None), "set": {"{{ ds }}"}, "n": (1, "x")}
    result = rendered(sql("SELECT '{{ ds }}'", options), context_of())
    assert result.sql == "SELECT '2024-05-01'"
    assert result.options == {
        "days": ["2024-05-01", 3],
        "pair": Pair("Lisbon", None),
        "set": {"2024-05-01"},
        "n": (1, "x"),
    }


def test_the_operator_itself_stays_as_it_is(context_of):
    """A warm worker runs it again, for another run."""
    operator = sql("{{ ds }}", {"a": "{{ ds }}"})
    rendered(operator, context_of())
    assert (operator.sql, operator.options) == ("{{ ds }}", {"a": "{{ ds }}"})


def test_what_has_no_template_is_the_very_same_object(context_of):
    options = {"a": [1, "plain", {"b": "{ not }"}]}
    operator = sql("plain", options)
    result = rendered(operator, context_of())
    assert result is not operator
    assert result.options is options
    assert operator.dag.templates._environment is None


def test_a_template_is_compiled_once(context_of, monkeypatch):
    operator = sql("{{ ds }}")
    operator.dag.templates.prepare(operator)
    monkeypatch.setattr(type(operator.dag.templates), "_compile", None)
    assert [rendered(operator, context_of()).sql for _ in range(2)] == ["2024-05-01"] * 2


def test_date_filters(context_of):
    context = {**context_of(), "at": datetime(2024, 5, 1, 6, 7, 8, tzinfo=UTC)}
    text = "{{ at|ds }} {{ at|ds_nodash }} {{ at|ts }} {{ at|ts_nodash }} {{ at|ts_nodash_with_tz }}"
    assert rendered(sql(text), context).sql == (
        "2024-05-01 20240501 2024-05-01T06:07:08+00:00 20240501T060708 20240501T060708+0000"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n{{ ds", "DAG 'd', task 't', field 'sql', line 3: template error: unexpected end of template"),
        ("{% for x in y %}", "DAG 'd', task 't', field 'sql', line 1: template error: Unexpected end of template"),
        ("{{ ds | nosuch }}", "DAG 'd', task 't', field 'sql', line 1: template error: No filter named 'nosuch'."),
    ],
)
def test_a_broken_template_is_found_when_the_file_is_read(text, message):
    operator = sql(text)
    with pytest.raises(DagFileError) as caught:
        operator.dag.templates.prepare(operator)
    assert str(caught.value).startswith(message)


def test_an_unknown_name_fails_the_task_with_its_place(context_of):
    with pytest.raises(TaskError) as caught:
        rendered(sql("line one\n{{ dss }}"), context_of())
    assert str(caught.value) == "task 't', field 'sql', line 2: 'dss' is undefined"


def test_an_unknown_attribute_too(context_of):
    with pytest.raises(TaskError, match="field 'sql', line 1: 'dict object' has no attribute 'town'"):
        rendered(sql("{{ params.town }}"), context_of())


def test_templates_cannot_reach_into_python(context_of):
    with pytest.raises(Exception, match="unsafe"):
        rendered(sql("{{ ds.__class__.__mro__ }}"), context_of())


class TestFiles:
    def test_a_field_with_the_right_ending_is_read_beside_the_dag(self, tmp_path, context_of):
        (tmp_path / "q.sql").write_text("SELECT '{{ ds }}'")
        operator = sql("q.sql", {"others": ["q.sql", "q.txt"]}, tmp_path)
        result = rendered(operator, context_of())
        assert result.sql == "SELECT '2024-05-01'"
        assert result.options == {"others": ["SELECT '2024-05-01'", "q.txt"]}
        assert tmp_path / "q.sql" in operator.dag.templates.files

    def test_a_file_may_include_another(self, tmp_path, context_of):
        (tmp_path / "part.sql").write_text("{{ ds }}")
        (tmp_path / "q.sql").write_text("[{% include 'part.sql' %}]")
        assert rendered(sql("q.sql", folder=tmp_path), context_of()).sql == "[2024-05-01]"

    def test_one_that_is_missing_is_named(self, tmp_path):
        with DAG("d") as dag:
            operator = BashOperator(task_id="t", bash_command="./run.sh")
        dag.templates._folder = tmp_path
        with pytest.raises(DagFileError) as caught:
            dag.templates.prepare(operator)
        assert str(caught.value) == (
            f"DAG 'd', task 't', field 'bash_command': './run.sh' ends like a template file, but {tmp_path}/run.sh "
            "cannot be read (No such file or directory); to use it as a command, end it with a space"
        )

    def test_a_space_makes_it_a_command(self):
        with DAG("d") as dag:
            operator = BashOperator(task_id="t", bash_command="./run.sh ")
        dag.templates.prepare(operator)
        assert operator.bash_command == "./run.sh "
