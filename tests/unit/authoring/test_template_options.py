"""What a DAG says of its templates: macros, filters, folders, native values, undefined names, documentation."""

from __future__ import annotations

import jinja2
import pytest

from runtime import DAG, BashOperator, PythonOperator, TaskError, task
from runtime.authoring.exceptions import ArgumentError, DagFileError
from runtime.authoring.serialize import dag_spec


def render(text, context, **options):
    with DAG("d", **options):
        operator = PythonOperator(task_id="t", python_callable=print, op_args=[text])
    return operator.render_template_fields(context).op_args[0]


def test_macros_and_filters_of_the_author(context_of):
    options = {"user_defined_macros": {"add": lambda a, b: a + b}, "user_defined_filters": {"loud": str.upper}}
    assert render("{{ add(1, 2) }} {{ params.city | loud }} {{ ds }}", context_of(), **options) == "3 LISBON 2024-05-01"


@pytest.mark.parametrize(
    ("text", "value"),
    [("{{ [1, 2] }}", [1, 2]), ("{{ params }}", {"city": "Lisbon"}), ("{{ 1 }}{{ 2 }}", 12), ("x{{ 1 }}", "x1")],
)
def test_native_values_in_place_of_text(context_of, text, value):
    assert render(text, context_of(), render_template_as_native_obj=True) == value


def test_undefined_names_are_errors_unless_the_author_wants_them_otherwise(context_of):
    with pytest.raises(TaskError, match="task 't', field 'op_args', line 1: 'nothing' is undefined"):
        render("{{ nothing }}", context_of())
    assert render("a{{ nothing }}b", context_of(), template_undefined=jinja2.Undefined) == "ab"
    assert render("<< ds >>{{", context_of(), jinja_environment_kwargs={"variable_start_string": "<<",
                  "variable_end_string": ">>"}) == "2024-05-01{{"  # fmt: skip


def test_template_files_are_found_in_the_folders_given(tmp_path, context_of):
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "hello.sh").write_text("echo {% include 'name.txt' %} {{ ds }}")
    (folder / "name.txt").write_text("Ada")
    with DAG("d", template_searchpath=[tmp_path / "none", str(folder)]) as dag:
        operator = BashOperator(task_id="t", bash_command="hello.sh")
    dag.templates.prepare(operator)
    assert operator.render_template_fields(context_of()).bash_command == "echo Ada 2024-05-01"
    assert dag.templates.files == [folder / "hello.sh"]


def test_documentation_of_dags_and_tasks(tmp_path):
    @task
    def explained():
        """What it is for."""

    with DAG("d", doc_md="# Words") as dag:
        explained()
        explained.override(doc_md="other", task_id="b")()
        PythonOperator(task_id="c", python_callable=print, doc="text", doc_json="{}")
    spec = dag_spec(dag)
    assert (spec.doc_md, [one.doc_md for one in spec.tasks]) == ("# Words", ["What it is for.", "other", None])
    assert dag.get_task("c").doc == "text"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template_searchpath": 3}, "DAG 'd': template_searchpath must be a folder or a list of folders, not 3"),
        ({"template_undefined": "x"}, "template_undefined must be jinja2.Undefined or a subclass of it, not 'x'"),
        ({"user_defined_macros": 3}, "user_defined_macros must be a dict with string keys, not 3"),
        ({"user_defined_filters": {"f": 3}}, "user_defined_filters['f'] must be a function, not 3"),
        ({"render_template_as_native_obj": 1}, "render_template_as_native_obj must be True or False, not 1"),
        ({"doc_md": 3}, "doc_md must be a string, not 3"),
        ({"user_defined_macro": {}}, "unknown argument 'user_defined_macro'; did you mean 'user_defined_macros'?"),
    ],
)
def test_what_cannot_be_used_is_named(options, message):
    with pytest.raises(ArgumentError) as caught:
        DAG("d", **options)
    assert message in str(caught.value)


def test_options_that_jinja_does_not_know_are_named(context_of):
    with DAG("d", jinja_environment_kwargs={"nope": 1}) as dag:
        operator = PythonOperator(task_id="t", python_callable=print, op_args=["{{ ds }}"])
    with pytest.raises(DagFileError, match=r"task 't', field 'op_args': jinja_environment_kwargs of DAG 'd': .*'nope'"):
        dag.templates.prepare(operator)
