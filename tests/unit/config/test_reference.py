"""The page about options, and what every option owes its reader."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from runtime.config.options import SECTIONS
from runtime.config.reference import markdown
from runtime.config.values import PARSERS

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
OPTIONS = [pytest.param(field, id=f"{name}.{field.name}") for name, cls in SECTIONS.items() for field in fields(cls)]


def test_page_is_what_the_options_say():
    assert PAGE.read_text() == markdown(), "run `make docs`"


@pytest.mark.parametrize("field", OPTIONS)
def test_option_has_a_reason_a_known_type_and_a_place_on_the_page(field):
    info = field.metadata["option"]
    assert info.why.endswith("."), "a reason is a sentence"
    assert field.type in PARSERS
    assert f"| `{field.name}` |" in markdown()
