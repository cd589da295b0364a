"""``hybrid config lint --section``: only what there is."""

from __future__ import annotations


def test_a_section_that_is_none_is_named(hybrid):
    done = hybrid("config", "lint", "--section", "schedulr")
    assert (done.code, done.out) == (1, "")
    assert done.err == "hybrid: there is no section [schedulr]; did you mean scheduler?\n"


def test_one_that_is_there_is_looked_at(hybrid):
    assert hybrid("config", "lint", "--section", "scheduler").out == "no problems found\n"
    assert hybrid("config", "lint", "--section", "celery:east").code == 0
