"""What a task does, and what is reported and logged of it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from worker_end import MemoryService

from executors.local.channel import Kind

LINE = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\] \{[^}]+\} [A-Z]+ - .*")


def test_a_task_that_returns_nothing_succeeds_without_an_xcom(worker):
    report = worker.run("succeeds")
    assert (report.outcome, report.reason, report.return_value) == ("success", "", msgspec.UNSET)


def test_the_return_value_travels_with_the_report(worker):
    assert worker.value("returns") == {"a": [1, 2.5, None, "ü"]}


def test_an_exception_fails_the_attempt_with_its_first_line_and_the_retry_delay_of_the_task(worker):
    report = worker.run("fails")
    assert (report.outcome, report.reason) == ("failed", "ValueError: no luck")
    assert (report.retry, report.retry_delay) == (True, 7.0)
    text = worker.log("fails")
    assert "Traceback (most recent call last)" in text
    assert 'raise ValueError("no luck' in text
    assert "runtime/worker/task.py" not in text


@pytest.mark.parametrize(
    ("task_id", "outcome", "reason", "retry"),
    [
        ("skips", "skipped", "nothing to do", True),
        ("fails_for_good", "failed", "hopeless", False),
        ("raises_task_error", "failed", "TaskError: one line", True),
        ("exits_0", "success", "", True),
        ("exits_3", "failed", "the task called sys.exit(3)", True),
        ("exits_hard", "failed", "exited with code 3 before it reported", True),
        ("prints_and_dies", "failed", "killed by SIGKILL (out of memory?)", True),
        ("segfaults", "failed", "killed by SIGSEGV", True),
        (
            "returns_a_set",
            "failed",
            "task returns_a_set returned a set at ['deep'][0]; XCom takes JSON values",
            True,
        ),
        ("not_there", "failed", "DAG 'd' in dag.py has no task 'not_there'", True),
        ("asks_for_the_past", "failed", None, True),
    ],
)
def test_ways_to_end(worker, task_id, outcome, reason, retry):
    report = worker.run(task_id)
    assert (report.outcome, report.retry) == (outcome, retry)
    assert report.reason == reason or (reason is None and "prev_ds" in report.reason)


def test_an_unknown_dag_names_those_that_the_file_has(worker):
    assert worker.run("succeeds", dag_id="other").reason == "dag.py has no DAG 'other'; it has d"


def test_the_worker_goes_on_after_any_end_and_keeps_the_file(worker):
    for task_id in ("fails", "segfaults", "prints_and_dies", "succeeds"):
        worker.run(task_id)
    idle = worker.wait_idle()
    assert not idle["retire"]
    assert [name.split("@")[0] for name in idle["files"]] == ["dag.py"]
    assert idle["rss"] > 0


def test_start_and_end_are_two_calls_and_the_end_comes_with_idle(worker):
    """No frame more than needed: each is a wake-up of the scheduler's host process."""
    worker.run("succeeds")
    worker.wait_idle()
    assert worker.frames == [Kind.IDLE, Kind.CALL, Kind.CALL, Kind.ENDED, Kind.IDLE]


def test_the_start_names_process_boot_and_file_version(worker):
    attempt_id = worker.assign("knows_its_pid")
    worker.wait_end(attempt_id)
    start, report = worker.service.starts[attempt_id], worker.service.finishes[attempt_id]
    pid, session, _ = json.loads(bytes(report.return_value))
    assert pid == session == start.pid
    assert start.pid_started > 0
    assert len(start.boot_id) == 36
    assert start.file_hash == worker.service.runs[attempt_id].file_hash
    assert start.hostname


# -- XCom ------------------------------------------------------------------------------------------------------------


def test_a_pushed_value_can_be_pulled_by_the_same_task(worker):
    assert worker.value("pushes") == "blue"
    assert worker.service.xcoms["pushes", "colour", -1] == "blue"


def test_pulls_of_one_several_and_missing_values(worker):
    worker.service.xcoms["returns", "return_value", -1] = {"a": 1}
    assert worker.value("pulls") == [{"a": 1}, [{"a": 1}, None], "none"]


def test_a_mapped_task_is_pulled_as_a_list(worker):
    for index in (1, 0, 2):
        worker.service.xcoms["returns", "return_value", index] = index * 10
    assert worker.value("pulls")[:2] == [[0, 10, 20], [0, 10, 20, None]]


def test_an_xcom_argument_is_resolved(worker):
    worker.service.xcoms["returns", "return_value", -1] = {"a": [41]}
    assert worker.value("takes") == 41


def test_a_value_of_megabytes_passes_both_ways(worker):
    big = "x" * 5_000_000
    worker.service.xcoms["returns", "return_value", -1] = big
    assert worker.value("pulls")[0] == big


def test_an_xcom_that_the_service_does_not_answer_fails_the_task(hire):
    from runtime.core.messages import XComPush

    worker = hire(MemoryService(silent=(XComPush,)))
    assert worker.run("pushes").reason.startswith(
        "XComError: xcom_push of key 'colour' failed: the task service gave no"
    )


def test_a_process_that_the_task_forked_is_told_that_it_cannot_use_xcoms(worker, notes):
    worker.run("forks_and_pulls")
    assert "by the task's own process only" in (notes / "error").read_text()


# -- context ---------------------------------------------------------------------------------------------------------


def test_the_context_has_airflows_names(worker):
    told = worker.value("tells", conf={"colour": "green", "extra": 1}, try_number=2, max_tries=3, attempt_id="a-1")
    assert told == [
        "2026-11-22",
        {"colour": "green", "size": 1, "extra": 1},
        {"colour": "green", "extra": 1},
        "r",
        2,
        True,
        "a-1",
    ]


def test_templates_are_rendered(worker):
    assert worker.value("bash") == "2026-11-22 red 2026-11-23"


def test_a_run_without_a_logical_date_has_no_ds(worker):
    assert worker.value("undated", logical_date=None) is False


# -- logs ------------------------------------------------------------------------------------------------------------


def test_everything_said_is_in_the_log_with_time_place_and_level(worker):
    worker.run("speaks")
    text = worker.log("speaks")
    assert re.search(r"\{dag\.py:\d+\} INFO - to stdout\n", text)
    assert re.search(r"\{dag\.py:\d+\} ERROR - to stderr\n", text)
    assert re.search(r"\{dag\.py:\d+\} WARNING - by logging 7\n", text)
    assert re.search(r"INFO - no line end\n", text)
    assert text.count("from a subprocess\n") == text.count("raw bytes\n") == 1
    odd = [line for line in text.splitlines() if not LINE.fullmatch(line)]
    assert odd == ["from a subprocess", "raw bytes"]


def test_the_log_is_private(worker):
    worker.run("speaks")
    file = worker.logs / "dag_id=d" / "run_id=r" / "task_id=speaks" / "attempt=1.log"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in list(file.parents)[:4]] == [0o700] * 4


def test_a_later_dispatch_and_a_mapped_instance_have_files_of_their_own(worker):
    worker.run("succeeds", try_number=2, dispatch_number=3)
    worker.run("succeeds", map_index=4)
    assert worker.log("succeeds", "attempt=2.3.log")
    assert worker.log("succeeds", "map_index=4/attempt=1.log")


def test_a_killed_task_leaves_its_last_words_and_why_it_ended(worker):
    worker.run("prints_and_dies")
    last, why = worker.log("prints_and_dies").splitlines()[-2:]
    assert last.endswith("INFO - last words")
    assert why.endswith("ERROR - killed by SIGKILL (out of memory?)")


def test_a_crash_leaves_the_python_stack(worker):
    worker.run("segfaults")
    text = worker.log("segfaults")
    assert "Fatal Python error: Segmentation fault" in text
    assert "in segfaults" in text


def test_a_flood_of_50_megabytes_is_complete(worker):
    worker.run("floods")
    text = worker.log("floods")
    assert text.count("x" * 99 + "\n") == 500_000
    assert text.count("y") >= 10_000_000
    assert text.splitlines()[-2].endswith("INFO - the end")


def test_a_log_that_cannot_be_written_fails_the_task_with_the_path(worker):
    worker.logs.write_text("a file where a folder should be")
    report = worker.run("succeeds")
    assert report.outcome == "failed"
    assert report.reason.startswith(
        f"cannot write the log {worker.logs}/dag_id=d/run_id=r/task_id=succeeds/attempt=1.log"
    )
