"""What the demo's report and chart are made of; the run itself is ``make demo``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

FILE = Path(__file__).parents[3] / "dags" / "stdlib_survey.py"


@pytest.fixture(scope="module")
def survey():
    spec = importlib.util.spec_from_file_location("stdlib_survey_under_test", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def library(tmp_path):
    """A tiny library: a package with a sub-package and tests, a module, and a file that is no Python."""
    for path, text in {
        "pack/__init__.py": "class A:\n    def f(self): ...\n",
        "pack/deep/more.py": "async def g():\n    pass\n",
        "pack/test/skipped.py": "def no(): ...\n",
        "single.py": "def one(): ...\n",
        "broken/__init__.py": "def (:\n",
        "data/readme.txt": "no Python here\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_packages_and_modules_are_found_and_tests_are_not(survey, library):
    assert survey.packages(library) == ["broken", "pack", "single.py"]
    assert [file.name for file in survey.sources(library, "pack")] == ["__init__.py", "more.py"]


def test_measure_counts_what_is_there(survey, library):
    package = survey.measure(library, "pack", heavy=True)
    assert package.pop("seconds") > 0
    assert package == {"name": "pack", "files": 2, "lines": 4, "functions": 2, "classes": 1, "heavy": True}
    assert survey.measure(library, "single.py", heavy=False)["name"] == "single"


def test_file_that_is_no_python_counts_by_its_lines(survey, library):
    package = survey.measure(library, "broken", heavy=False)
    assert (package["files"], package["lines"], package["functions"]) == (1, 1, 0)


def test_report_and_chart_hold_up_with_packages_and_without(survey, library):
    found = [survey.measure(library, name, heavy=name == "pack") for name in ("pack", "single.py")]
    assert "| pack | 2 | 4 | 2 | 1 |" in survey.markdown(found)
    chart = ET.fromstring(survey.chart(found))
    bars = [node.get("class") for node in chart.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == ["default", "heavy", "heavy", "default"]
    survey.markdown([])
    ET.fromstring(survey.chart([]))
