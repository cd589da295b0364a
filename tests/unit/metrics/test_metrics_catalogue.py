"""The list of figures and its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.metrics.catalogue import FIGURES, find, rewrite

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_has_the_table_of_today():
    assert PAGE.read_text() == rewrite(PAGE.read_text()), "run `make docs`"


def test_every_figure_has_one_name_and_a_meaning():
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
    assert all(figure.meaning.endswith(".") for figure in FIGURES)


@pytest.mark.parametrize(
    ("name", "stem", "executor"),
    [
        ("ti.start", "ti.start", None),
        ("executor.late_events", "executor.late_events", None),
        ("executor.open_slots.heavy", "executor.open_slots.<executor>", "heavy"),
        ("executor.open_slots.late_events", "executor.open_slots.<executor>", "late_events"),
    ],
)
def test_a_figure_is_found_by_what_is_emitted(name, stem, executor):
    figure, found = find(name)
    assert figure is not None
    assert (figure.name, found) == (stem, executor)


def test_a_foreign_one_is_not():
    assert find("executor.mine.heavy") == (None, None)
