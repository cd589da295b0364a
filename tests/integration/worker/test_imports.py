"""DAG files in a warm worker: loaded once per version; one that misbehaves at import harms its own attempts only."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

HEAD = "from runtime import DAG, task\nimport os, sys, threading, time\n"
BODY = """
with DAG("d"):
    @task
    def tells():
        return [VALUE, os.getpid()]
    tells()
"""


def write(worker, name: str, text: str) -> str:
    """Write a DAG file; the hash of what was there before it, else of itself."""
    file = worker.dags / name
    file.write_text(HEAD + text + BODY)
    return sha256(file.read_bytes()).hexdigest()


def test_a_file_is_imported_once_for_many_attempts(worker, notes):
    write(worker, "a.py", "open(os.environ['NOTES'] + '/imports', 'a').write('x')\nVALUE = 1")
    for _ in range(3):
        assert worker.value("tells", rel_path="a.py")[0] == 1
    assert (notes / "imports").read_text() == "x"


def test_a_new_version_is_loaded_and_a_held_old_one_still_serves_its_runs(worker):
    old = write(worker, "a.py", "VALUE = 1")
    assert worker.value("tells", rel_path="a.py")[0] == 1
    new = write(worker, "a.py", "VALUE = 22")
    assert worker.value("tells", rel_path="a.py", file_hash=old)[0] == 1
    assert worker.value("tells", rel_path="a.py", file_hash=new)[0] == 22


def test_a_change_of_an_imported_module_is_seen(worker):
    (worker.dags / "shared_by_test.py").write_text("VALUE = 1")
    write(worker, "a.py", "from shared_by_test import VALUE")
    assert worker.value("tells", rel_path="a.py")[0] == 1
    (worker.dags / "shared_by_test.py").write_text("VALUE = 222")
    assert worker.value("tells", rel_path="a.py")[0] == 222


def test_no_more_than_max_files_stay_loaded(hire):
    worker = hire(max_files=2)
    for name in ("a.py", "b.py", "c.py"):
        write(worker, name, "VALUE = 1")
        worker.value("tells", rel_path=name)
    assert [version.split("@")[0] for version in worker.wait_idle()["files"]] == ["b.py", "c.py"]


# -- another version than the run's ----------------------------------------------------------------------------------


def test_by_default_another_version_runs_says_so_and_is_recorded(worker):
    actual = write(worker, "a.py", "VALUE = 1")
    attempt_id = worker.assign("tells", rel_path="a.py", file_hash="scheduled")
    worker.wait_end(attempt_id)
    assert worker.service.starts[attempt_id].file_hash == actual
    assert worker.service.finishes[attempt_id].outcome == "success"
    assert f"a.py is version {actual} here; the run was created with scheduled" in worker.log("tells")


def test_on_version_mismatch_fail_names_both_versions_and_runs_nothing(hire, notes):
    worker = hire(on_version_mismatch="fail")
    actual = sha256((worker.dags / "dag.py").read_bytes()).hexdigest()
    report = worker.run("sleeps", file_hash="scheduled")
    assert report.outcome == "failed"
    assert report.reason == f"dag.py is version {actual} here; the run was created with scheduled"
    assert not (notes / "running").exists()


# -- bad files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "logged"),
    [
        ("raise ValueError('at import')", "ValueError: at import", "raise ValueError('at import')"),
        ("sys.exit(4)", "the task called sys.exit(4)", "sys.exit(4)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "raise KeyboardInterrupt"),
        ("VALUE = (", "SyntaxError: '(' was never closed (a.py, line 3)", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", "import no_such_module"),
    ],
)
def test_a_file_that_cannot_be_imported_fails_its_attempt_with_the_traceback(worker, text, reason, logged):
    write(worker, "a.py", text)
    report = worker.run("tells", rel_path="a.py")
    assert (report.outcome, report.reason) == ("failed", reason)
    assert logged in worker.log("tells")
    assert worker.run("succeeds").outcome == "success"


def test_a_file_that_is_not_there_fails_its_attempt(worker):
    report = worker.run("tells", rel_path="nowhere.py")
    assert "No such file or directory" in report.reason
    assert "nowhere.py" in report.reason


def test_a_file_that_ends_the_process_ends_the_worker_before_anything_was_started(worker):
    write(worker, "a.py", "os._exit(7)")
    attempt_id = worker.assign("tells", rel_path="a.py")
    assert worker.wait_exit() == 7
    assert attempt_id not in worker.service.starts


def test_a_file_that_hangs_fails_its_attempt_after_the_import_timeout(hire):
    worker = hire(import_timeout=0.3)
    write(worker, "a.py", "time.sleep(1000)")
    report = worker.run("tells", rel_path="a.py")
    assert report.reason == "importing a.py took longer than 0.3 s"
    assert "time.sleep(1000)" in worker.log("tells")
    assert worker.run("succeeds").outcome == "success"


def test_a_file_that_swallows_the_timeout_is_interrupted_again(hire):
    worker = hire(import_timeout=0.2)
    write(worker, "a.py", "try:\n    time.sleep(1000)\nexcept BaseException:\n    time.sleep(1000)\nVALUE = 1")
    assert worker.run("tells", rel_path="a.py").reason == "importing a.py took longer than 0.2 s"


def test_a_bad_file_is_tried_again_in_the_worker_when_it_has_changed(worker):
    write(worker, "a.py", "raise ValueError")
    assert worker.run("tells", rel_path="a.py").outcome == "failed"
    write(worker, "a.py", "VALUE = 5")
    assert worker.value("tells", rel_path="a.py")[0] == 5
    assert any(version.startswith("a.py@") for version in worker.wait_idle()["files"])


def test_what_a_file_prints_at_import_is_in_no_other_place(hire, capfd):
    worker = hire()
    write(worker, "a.py", "print('noise'); os.write(1, b'raw noise'); VALUE = 1")
    worker.value("tells", rel_path="a.py")
    assert "noise" not in "".join(capfd.readouterr())
    assert "noise" not in worker.log("tells")


def test_a_file_that_starts_threads_runs_in_a_fresh_interpreter_and_its_worker_leaves(worker):
    write(worker, "a.py", "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nVALUE = 1")
    attempt_id = worker.assign("tells", rel_path="a.py")
    worker.wait_end(attempt_id)
    assert worker.service.finishes[attempt_id].outcome == "success"
    assert worker.wait_idle()["retire"]
    assert worker.wait_exit() == 0
    pid = worker.service.starts[attempt_id].pid
    assert pid not in (worker.process.pid, os.getpid())


def test_a_missing_setting_is_one_clear_error(hire):
    from runtime.core.errors import ConfigError
    from runtime.worker.warm import serve

    with pytest.raises(ConfigError, match="option dags_folder is not set"):
        serve(None, {})
