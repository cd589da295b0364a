"""``hybrid dags``: state, next-execution, details, list-runs, delete, report, reserialize, and what each refuses."""

from __future__ import annotations

import json

import pytest
import time_machine

from runtime.core.specs import DagSpec, ParsedFile, TaskSpec, TimetableSpec
from runtime.db.dags import DatabaseDagStore

NIGHTLY = TimetableSpec(kind="cron", expression="0 3 * * *", timezone="Europe/Berlin", summary="0 3 * * *")


@pytest.fixture
def nightly(database) -> str:
    """A DAG that catches up from 28 March 2026 on; the clocks of Berlin go forward on the 29th."""
    start = 1_774_652_400_000_000  # 2026-03-28T00:00+01:00
    spec = DagSpec("nightly", (TaskSpec("only", "@task"),), NIGHTLY, start_date=start, catchup=True)
    DatabaseDagStore(database, paused_at_creation=True).save(ParsedFile("nightly.py", "hash", (spec,)))
    return "nightly"


class TestState:
    def test_a_run_is_named_by_its_id_or_its_logical_date(self, hybrid, run):
        assert hybrid("dags", "state", "etl", "r1").out == "queued\n"
        assert hybrid("dags", "state", "etl", "2025-06-15T15:06:40").out == "queued\n"
        assert hybrid("dags", "state", "etl", "2025-06-15T17:06:40+02:00", "-o", "json").json["run_id"] == "r1"

    def test_conf_stands_behind_it(self, hybrid, etl):
        hybrid("dags", "trigger", "etl", "-r", "mine", "-c", '{"n": 1}')
        assert hybrid("dags", "state", "etl", "mine").out == 'queued, {"n": 1}\n'

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["etl", "r2"], "DAG etl has no run 'r2'; see `hybrid dags list-runs etl`"),
            (["etl", "2025-01-01"], "DAG etl has no run '2025-01-01', as an id or a logical date; see `hybrid dags"),
            (["elt", "r1"], "there is no DAG 'elt', did you mean 'etl'?; see `hybrid dags list`"),
        ],
    )
    def test_what_is_not_there_is_named(self, hybrid, run, words, message):
        refused = hybrid("dags", "state", *words)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith(f"hybrid: {message}")
        assert refused.err.count("\n") == 1


class TestNextExecution:
    def test_logical_dates_through_a_change_of_the_clocks(self, hybrid, nightly):
        shown = hybrid("dags", "next-execution", "nightly", "-n", "3")
        assert shown.out.splitlines() == [
            "2026-03-28T02:00:00.000000+00:00",
            "2026-03-29T01:00:00.000000+00:00",
            "2026-03-30T01:00:00.000000+00:00",
        ]
        assert "DAG nightly is paused" in shown.err

    def test_without_catchup_those_that_are_due_from_now_on(self, hybrid, etl):
        with time_machine.travel("2026-05-03T12:00:00Z", tick=False):
            shown = hybrid("dags", "next-execution", "etl", "-n", "2", "-o", "json")
        assert [(one["logical_date"][:13], one["run_after"][:13]) for one in shown.json] == [
            ("2026-05-02T03", "2026-05-03T03"),
            ("2026-05-03T03", "2026-05-04T03"),
        ]
        assert shown.err == ""

    def test_a_field_alone(self, hybrid, nightly):
        shown = hybrid("dags", "next-execution", "nightly", "--field", "data_interval.end")
        assert shown.out == "2026-03-29T01:00:00.000000+00:00\n"

    def test_a_dag_without_a_schedule_has_none_and_that_is_no_failure(self, hybrid, database):
        spec = DagSpec("by_hand", (TaskSpec("only", "@task"),))
        DatabaseDagStore(database, paused_at_creation=False).save(ParsedFile("by_hand.py", "hash", (spec,)))
        shown = hybrid("dags", "next-execution", "by_hand")
        assert (shown.code, shown.out) == (0, "None\n")
        assert "no further run follows" in shown.err

    @pytest.mark.parametrize("number", ["0", "-1", "many", "1001"])
    def test_a_number_that_makes_no_sense(self, hybrid, nightly, number):
        refused = hybrid("dags", "next-execution", "nightly", f"-n={number}")
        assert refused.code == 2
        assert f"{number!r} is no whole number from 1 to 1000" in refused.err


class TestListRuns:
    def test_dates_choose_and_both_ends_belong_to_them(self, hybrid, etl):
        for day in range(1, 5):
            hybrid("dags", "trigger", "etl", "-r", f"r{day}", "-l", f"2026-01-0{day}")
        shown = hybrid("dags", "list-runs", "-d", "etl", "-s", "2026-01-02", "-e", "2026-01-03", "-o", "json")
        assert {one["run_id"] for one in shown.json} == {"r2", "r3"}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["-s", "2026-02-01", "-e", "2026-01-01"], "--end-date 2026-01-01 is before --start-date 2026-02-01"),
            (["-s", "soon"], "--start-date 'soon' is no ISO-8601 date and time such as 2026-01-31T06:00+00:00"),
            (["-d", "etl"], "name one DAG; see `hybrid dags list-runs --help`"),
        ],
    )
    def test_what_it_refuses(self, hybrid, etl, words, message):
        refused = hybrid("dags", "list-runs", "etl", *words)
        assert (refused.code, refused.out, refused.err) == (2, "", f"hybrid: {message}\n")


class TestDelete:
    def test_it_goes_with_its_history_and_the_file_is_named(self, hybrid, run, database, settings):
        file = settings.core.dags_folder / "sub" / "etl.py"
        file.parent.mkdir(parents=True)
        file.write_text("")
        done = hybrid("dags", "delete", "etl", "-y", "-o", "json")
        assert done.code == 0
        assert {one["table"]: one["rows_deleted"] for one in done.json}["task_instance"] == 2
        assert (
            done.err
            == f"hybrid: {file} is still there: it brings the DAG back when it changes, or a DAG processor starts\n"
        )
        assert hybrid("dags", "list", "-o", "json").json == []

    def test_it_asks(self, hybrid, etl):
        refused = hybrid("dags", "delete", "etl")
        assert refused.code == 2
        assert "pass -y to mean yes" in refused.err
        assert len(hybrid("dags", "list", "-o", "json").json) == 1


def test_details_have_airflows_names(hybrid, nightly):
    shown = hybrid("dags", "details", "nightly", "-o", "json").json
    assert shown["timetable_summary"] == "0 3 * * *"
    assert shown["next_dagrun_logical_date"] == "2026-03-28T02:00:00.000000+00:00"
    assert (shown["is_paused"], shown["max_active_runs"], shown["has_import_errors"]) == (True, 16, False)


def test_files_are_stored_at_once_and_reported_with_their_time(hybrid, settings):
    folder = settings.core.dags_folder
    folder.mkdir()
    (folder / "one.py").write_text(
        "from runtime import DAG, EmptyOperator\nwith DAG('one'):\n    EmptyOperator(task_id='t')\n"
    )
    (folder / "two.py").write_text("from runtime import DAG\nraise ValueError('no')\n")
    stored = hybrid("dags", "reserialize", "-o", "json")
    assert stored.code == 1
    assert [(one["file"], one["dags"]) for one in stored.json] == [("one.py", ["one"]), ("two.py", [])]
    assert "ValueError: no" in stored.json[1]["error"]
    assert [one["dag_id"] for one in hybrid("dags", "list", "-o", "json").json] == ["one"]
    reported = hybrid("dags", "report", "-o", "json")
    assert [(one["file"], one["dag_num"], one["task_num"]) for one in reported.json] == [
        ("/one.py", 1, 1),
        ("/two.py", 0, 0),
    ]
    assert all(one["duration"] > 0 for one in reported.json)


class TestConf:
    def test_ten_megabytes_are_one_clear_line(self, hybrid, etl):
        refused = hybrid("dags", "trigger", "etl", "--conf", json.dumps({"data": "x" * 10_000_000}))
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("hybrid: --conf has 10,000,012 characters; at most 1,000,000 are kept")
        assert len(refused.err) < 250

    def test_what_is_wrong_is_shown_without_all_of_it(self, hybrid, etl):
        refused = hybrid("dags", "trigger", "etl", "--conf", "[" + "1," * 10_000)
        assert refused.code == 2
        assert len(refused.err) < 400
        assert hybrid("dags", "trigger", "etl", "--conf", "[" * 100_000).err == "hybrid: --conf is nested too deep\n"
