"""Loading DAG files: versions side by side, modules beside them, which DAGs count."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import DagFileError
from runtime.authoring.loader import load_file

PLAIN = """
from runtime import DAG, task

@task
def answer():
    return {value}

with DAG("d") as dag:
    answer()
"""


@pytest.fixture
def folder(tmp_path):
    """A DAGs folder; what loading leaves in this process is removed again."""
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "dags").mkdir()
    yield tmp_path / "dags"
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def answer(loaded):
    return loaded.dags["d"].get_task("answer").execute({})


def test_a_file_and_its_hash(folder):
    loaded = load_file(folder, write(folder, "a.py", PLAIN.format(value=1)))
    assert loaded.rel_path == "a.py"
    assert loaded.file_hash == hashlib.sha256(PLAIN.format(value=1).encode()).hexdigest()
    assert list(loaded.dags) == ["d"]


def test_two_versions_live_side_by_side(folder):
    first = load_file(folder, write(folder, "a.py", PLAIN.format(value=1)))
    second = load_file(folder, write(folder, "a.py", PLAIN.format(value=2)))
    assert (answer(first), answer(second)) == (1, 2)


def test_loading_leaves_no_compiled_file_of_it(folder):
    load_file(folder, write(folder, "a.py", PLAIN.format(value=1)))
    assert not list(folder.rglob("*.pyc"))


def test_a_module_that_changed_is_imported_afresh_also_through_one_that_did_not(folder):
    write(folder, "deep.py", "VALUE = 1")
    write(folder, "middle.py", "from deep import VALUE")
    text = "from middle import VALUE\n" + PLAIN.format(value="VALUE")
    first = load_file(folder, write(folder, "a.py", text))
    write(folder, "deep.py", "VALUE = 22")
    second = load_file(folder, "a.py")
    assert (answer(first), answer(second)) == (1, 22)


def test_what_it_used_is_listed(folder):
    write(folder, "lib/__init__.py", "")
    write(folder, "lib/names.py", "NAME = 'x'")
    write(folder, "say.sh", "echo {{ ds }}")
    text = (
        "import json, lib.names\nfrom runtime import DAG, BashOperator\n"
        "with DAG('d'):\n    BashOperator(task_id='t', bash_command='say.sh')\n"
    )
    loaded = load_file(folder, write(folder, "a.py", text))
    assert loaded.dependencies == ("lib/__init__.py", "lib/names.py", "say.sh")
    other = load_file(folder, write(folder, "b.py", PLAIN.format(value=1)))
    assert other.dependencies == ()


def test_a_module_of_the_folder_does_not_hide_the_standard_librarys(folder):
    write(folder, "colorsys.py", "raise RuntimeError('the wrong one')")
    load_file(folder, write(folder, "a.py", "import colorsys\n" + PLAIN.format(value=1)))


class TestWhichDags:
    def test_one_that_no_variable_holds(self, folder):
        text = "from runtime import DAG\nwith DAG('one'):\n    pass\nmade = DAG('two')\n"
        assert list(load_file(folder, write(folder, "a.py", text)).dags) == ["one", "two"]

    def test_those_that_a_function_elsewhere_makes(self, folder):
        """The usual factory: code in a module, a call in the DAG file."""
        write(folder, "factory.py", "from runtime import DAG\ndef make(name):\n    with DAG(name):\n        pass\n")
        text = "from factory import make\nfor name in ('x', 'y'):\n    make(name)\n"
        assert list(load_file(folder, write(folder, "a.py", text)).dags) == ["x", "y"]

    def test_not_those_of_a_file_that_is_only_imported(self, folder):
        write(folder, "other.py", "from runtime import DAG\nVALUE = 1\nwith DAG('theirs'):\n    pass\n")
        text = "from other import VALUE\n" + PLAIN.format(value="VALUE")
        assert list(load_file(folder, write(folder, "a.py", text)).dags) == ["d"]

    def test_those_imported_by_name(self, folder):
        write(folder, "other.py", "from runtime import DAG\nmade = DAG('theirs')\n")
        assert list(load_file(folder, write(folder, "a.py", "from other import made")).dags) == ["theirs"]

    def test_two_of_one_name(self, folder):
        text = "from runtime import DAG\na = DAG('same')\nb = DAG('same')\n"
        with pytest.raises(DagFileError, match=r"a.py defines two DAGs 'same'; rename one"):
            load_file(folder, write(folder, "a.py", text))

    def test_a_decorated_function_that_nobody_calls_is_told(self, folder):
        loaded = load_file(folder, write(folder, "a.py", "from runtime import dag\n@dag\ndef flow(): ...\n"))
        assert loaded.dags == {}
        assert loaded.warnings == (
            "the @dag function 'flow' is never called, so there is no DAG of it; add flow() at the end",
        )


def test_defaults_of_the_configuration(folder):
    defaults = Defaults(
        timezone="Europe/Berlin", retries=3, retry_delay=1.0, queue="q", max_active_runs=2, catchup=True, owner="ops"
    )
    loaded = load_file(folder, write(folder, "a.py", PLAIN.format(value=1)), defaults)
    operator = loaded.dags["d"].get_task("answer")
    assert (operator.retries, operator.retry_delay, operator.queue, operator.owner) == (3, 1.0, "q", "ops")
    dag = loaded.dags["d"]
    assert (dag.timezone, dag.max_active_runs, dag.catchup) == ("Europe/Berlin", 2, True)


def test_what_the_file_raises_reaches_the_caller_and_ends_the_load(folder):
    write(folder, "bad.py", "from runtime import DAG\nwith DAG('d'):\n    raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        load_file(folder, "bad.py")
    assert list(load_file(folder, write(folder, "a.py", PLAIN.format(value=1))).dags) == ["d"]
