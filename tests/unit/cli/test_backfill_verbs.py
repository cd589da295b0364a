"""``hybrid backfill``: what it prints, and what it says of bad input."""

from __future__ import annotations

import pytest

RANGE = ("--from-date", "2026-01-01", "--to-date", "2026-01-03T12:00")
DATES = [f"2026-01-0{day}T03:00:00.000000+00:00" for day in (1, 2, 3)]


@pytest.fixture
def made(hybrid, etl):
    """A backfill of three days."""
    result = hybrid("backfill", "create", "--dag-id", etl, *RANGE, "-o", "json")
    assert result.code == 0, result.err
    return result.json


def test_a_dry_run_lists_the_dates_and_writes_nothing(hybrid, etl):
    result = hybrid("backfill", "create", "--dag-id", etl, *RANGE, "--dry-run", "--run-backwards", "-o", "json")
    assert [(one["logical_date"], one["action"], one["run_id"]) for one in result.json] == [
        (date, "create", None) for date in reversed(DATES)
    ]
    assert hybrid("backfill", "list", "-o", "json").json == []


def test_create_prints_it_and_list_shows_it(hybrid, etl, made):
    assert made == {"id": 1, "dag_id": "etl", "state": "running", "total_runs": 3}
    (shown,) = hybrid("backfill", "list", "--dag-id", etl, "-o", "json").json
    assert (shown["id"], shown["total_runs"], shown["made_runs"], shown["skipped_runs"]) == (1, 3, 0, 0)
    assert (shown["state"], shown["reprocess_behavior"], shown["max_active_runs"]) == ("running", "none", 10)
    assert shown["from_date"] == "2026-01-01T00:00:00.000000+00:00"


def test_pause_unpause_and_cancel(hybrid, made):
    states = [hybrid("backfill", verb, "1", "-o", "json").json["state"] for verb in ("pause", "unpause", "cancel")]
    assert states == ["paused", "running", "cancelled"]
    again = hybrid("backfill", "pause", "1")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("hybrid: backfill 1 is over: cancelled at ")


def test_dags_backfill_is_the_same(hybrid, etl):
    result = hybrid("dags", "backfill", etl, "-s", "2026-01-01", "-e", "2026-01-02", "-o", "json")
    assert (result.code, result.json["total_runs"]) == (0, 1)


def test_a_paused_dag_is_told(hybrid, etl):
    hybrid("dags", "pause", etl)
    result = hybrid("backfill", "create", "--dag-id", etl, *RANGE)
    assert result.code == 0
    assert "warning: DAG etl is paused: its backfill begins with `hybrid dags unpause etl`" in result.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", *RANGE), 2, "name one DAG, with --dag-id; see `hybrid backfill create --help`"),
        (("create", "etl", "--dag-id", "etl", *RANGE), 2, "name one DAG, with --dag-id"),
        (("create", "--dag-id", "etl"), 2, "--from-date and --to-date say which logical dates"),
        (("create", "etl", "-s", "yesterday", "-e", "2026-01-01"), 2, "--from-date 'yesterday' is no ISO-8601 date"),
        (("create", "etl", *RANGE, "-c", "[1]"), 2, "--dag-run-conf must be a JSON object such as"),
        (("create", "etl", *RANGE, "--max-active-runs", "many"), 2, "argument --max-active-runs: invalid int value"),
        (("create", "etl", *RANGE, "--max-active-runs", "0"), 1, "--max-active-runs 0; it must be at least 1"),
        (("create", "etl", *RANGE, "--reprocess-behavior", "all"), 2, "invalid choice: 'all'"),
        (("create", "elt", *RANGE), 1, "there is no DAG 'elt', did you mean 'etl'?"),
        (("create", "etl", "-s", "2026-01-02", "-e", "2026-01-01"), 1, "is after --to-date 2026-01-01T00:00:00.000000"),
        (
            ("create", "etl", "-s", "2150-01-02", "-e", "2150-01-03"),
            1,
            "is in the future; a backfill makes runs of the",
        ),
        (("list", "--dag-id", "elt"), 1, "there is no DAG 'elt', did you mean 'etl'?"),
        (("cancel", "7"), 1, "there is no backfill 7; see `hybrid backfill list`"),
        (("pause", "first"), 2, "argument ID: invalid int value: 'first'"),
        (("stop", "1"), 2, "there is no `hybrid backfill stop`"),
    ],
)
def test_bad_input_is_one_line(hybrid, etl, words, code, said):
    result = hybrid("backfill", *words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert result.err.count("\n") == 1
