"""What an executor has fetched of a launch's output becomes its attempt's log on the scheduler's host."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from executors.workload import TaskInstanceKey
from runtime.core.ids import uuid7
from runtime.db.schema import task_attempt
from runtime.log.attempt_logs import read
from runtime.scheduler import log_sink
from runtime.scheduler.log_sink import LogSink
from tests.database.builders import spec, task
from tests.integration.scheduler.scheduling import Scheduling


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Not there yet."""
    return tmp_path / "logs"


@pytest.fixture
def key(s: Scheduling) -> TaskInstanceKey:
    """Of the only attempt."""
    s.plan(a="wait")
    s.begin_run(spec("d", task("a")), "r")
    s.rest()
    return s.one.launched[0]


@pytest.fixture
def sink(s: Scheduling, base: Path) -> LogSink:
    return LogSink(s.database, str(base))


def kept(base: Path) -> dict[str, str]:
    return {log.name: log.text for log in read(base, "d", "r", "a")}


def test_it_is_where_logs_are_looked_for(sink: LogSink, key: TaskInstanceKey, base: Path) -> None:
    sink(key, "line ü\n\ud800")
    assert kept(base) == {"attempt=1.log": "line ü\n\\ud800"}
    (file,) = base.rglob("*.log")
    assert file.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in [base, *file.parents][:4]} == {0o700}


def test_a_later_dispatch_has_a_file_of_its_own(s: Scheduling, sink: LogSink, key: TaskInstanceKey, base: Path) -> None:
    sink(key, "first")
    s.plan(a="wait")
    s.one.lost(key, "gone")
    s.turn()
    s.rest()
    sink(s.one.launched[1], "second")
    assert kept(base) == {"attempt=1.log": "first", "attempt=1.2.log": "second"}


def test_a_log_that_is_there_stays(sink: LogSink, key: TaskInstanceKey, base: Path) -> None:
    sink(key, "the first")
    sink(key, "the second")
    assert kept(base) == {"attempt=1.log": "the first"}


@pytest.mark.parametrize("link", ["attempt=1.log", "..", "../.."])
def test_no_symbolic_link_is_followed(
    sink: LogSink, key: TaskInstanceKey, base: Path, tmp_path: Path, link: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of this host may write to the folder of logs."""
    place = (base / "dag_id=d" / "run_id=r" / "task_id=a" / link).resolve()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere / "file" if link.endswith(".log") else elsewhere)
    sink(key, "secret")
    assert list(elsewhere.iterdir()) == []
    assert ("cannot be kept" in caplog.text) == (not link.endswith(".log"))


def test_names_come_from_the_database(sink: LogSink, key: TaskInstanceKey, base: Path) -> None:
    """A key says what its executor says."""
    sink(replace(key, dag_id="../../etc", task_id="passwd", try_number=7), "x")
    assert kept(base) == {"attempt=1.log": "x"}


def test_of_a_huge_output_the_end_is_kept(
    sink: LogSink, key: TaskInstanceKey, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sink, "LONGEST_LOG", 100)
    sink(key, "".join(f"line {number}\n" for number in range(100)))
    lines = kept(base)["attempt=1.log"].splitlines()
    assert lines[0] == "── 694 bytes before this are left out ──"
    assert (lines[1], lines[-1]) == ("line 88", "line 99")


def test_nothing_printed_is_no_log(sink: LogSink, key: TaskInstanceKey, base: Path) -> None:
    sink(key, "")
    assert kept(base) == {}


def test_an_unknown_attempt_is_told_and_nothing_else(
    sink: LogSink, key: TaskInstanceKey, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink(replace(key, attempt_id=uuid7()), "x")
    assert "there is no such attempt" in caplog.text
    assert not base.exists()


TROUBLE = {"path": "cannot be kept: [Errno 20]", "bug": "cannot be kept"}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_it_never_raises(
    s: Scheduling, key: TaskInstanceKey, tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    sink = LogSink(s.database, str(tmp_path / "file" / "logs"))
    sink(key, "x" if trouble == "path" else 5)  # type: ignore[arg-type]
    assert TROUBLE[trouble] in caplog.text


def test_a_disk_that_is_full_leaves_no_half_of_it(
    sink: LogSink, key: TaskInstanceKey, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("builtins.open", _full)
    sink(key, "x" * 1000)
    monkeypatch.undo()
    assert "No space left on device" in caplog.text
    assert kept(base) == {}
    sink(key, "x")
    assert kept(base) == {"attempt=1.log": "x"}


def _full(descriptor: int, mode: str) -> object:
    os.close(descriptor)
    raise OSError(28, "No space left on device")


def test_many_threads_at_once(s: Scheduling, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One writes; the others find it there."""
    caplog.set_level(logging.WARNING)
    names = [f"t{number}" for number in range(8)]
    s.plan(**dict.fromkeys(names, "wait"))
    s.begin_run(spec("d", *(task(name) for name in names)), "r")
    s.rest()
    sink = LogSink(s.database, str(base))
    threads = [
        threading.Thread(target=sink, args=(key, f"{key.task_id} {count}")) for key in s.one.launched for count in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [file.read_text() for file in base.rglob("*.log")]
    assert sorted(text.split()[0] for text in texts) == names
    assert caplog.text == ""


def test_a_database_that_is_away_costs_the_log_only(
    s: Scheduling,
    sink: LogSink,
    key: TaskInstanceKey,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_sink, "_ATTEMPT", update(task_attempt).values(no_such_column=1))
    sink(key, "x")
    assert "cannot be kept" in caplog.text
