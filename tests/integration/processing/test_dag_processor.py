"""The DAG processor on a real folder and a real store: what is parsed, when, and what is forgotten."""

from __future__ import annotations

import os
import threading
import time

import pytest

from executors.errors import ExecutorConfigError
from runtime.processing.processor import DagProcessor


class Stepper:
    """Steps a processor through time that the test sets, until it has nothing to do."""

    def __init__(self, processor: DagProcessor, monkeypatch) -> None:
        self.processor = processor
        self.now = 1000.0
        self.parsed: list[str] = []
        started = processor._start

        def start(now):
            before = {child.rel_path for child in processor._children}
            started(now)
            self.parsed += sorted(child.rel_path for child in processor._children if child.rel_path not in before)

        monkeypatch.setattr(processor, "_start", start)

    def settle(self, seconds: float = 0.0) -> list[str]:
        """Let that much time pass, work until idle; the files that were parsed."""
        self.now += seconds
        self.parsed = []
        deadline = time.monotonic() + 30
        while True:
            delay = self.processor.step(self.now)
            if not self.processor._children and not self.processor._queue:
                assert 0 <= delay <= 5.0
                return self.parsed
            assert time.monotonic() < deadline
            self.processor._wait(0.05)


@pytest.fixture
def stepper(folder, monkeypatch):
    """A processor over the folder, stepped by hand."""
    made = Stepper(folder.processor(), monkeypatch)
    yield made
    made.processor.close()


def test_new_changed_and_removed_files(folder, stepper):
    folder.dag("a.py", "one")
    assert stepper.settle() == ["a.py"]
    assert folder.dags == {"one": "a.py"}
    folder.dag("a.py", "two")
    assert stepper.settle(1) == [], "the folder is looked at every five seconds"
    assert stepper.settle(5) == ["a.py"]
    assert folder.dags == {"two": "a.py"}
    (folder.path / "a.py").unlink()
    assert stepper.settle(5) == []
    assert folder.dags == {}


def test_an_unchanged_file_is_parsed_again_now_and_then(folder, stepper):
    folder.dag("a.py", "one")
    stepper.settle()
    assert stepper.settle(100) == []
    assert stepper.settle(20) == ["a.py"]


def test_an_answer_that_is_the_same_is_not_written_again(folder, stepper, monkeypatch):
    folder.dag("a.py", "one")
    stepper.settle()
    monkeypatch.setattr(folder.store, "save", None)
    assert stepper.settle(200) == ["a.py"]


def test_a_change_of_a_dependency_parses_the_file_again(folder, stepper):
    folder.write("names.py", "ID = 'one'")
    folder.write("say.sh", "echo 1")
    body = "from names import ID\nfrom runtime import DAG, BashOperator\nwith DAG(ID):\n"
    folder.write("a.py", body + "    BashOperator(task_id='t', bash_command='say.sh')\n")
    folder.dag("b.py", "other")
    stepper.settle()
    folder.write("names.py", "ID = 'three'")
    assert stepper.settle(5) == ["a.py"]
    assert sorted(folder.dags) == ["other", "three"]
    folder.write("say.sh", "echo 123")
    assert stepper.settle(5) == ["a.py"]


def test_a_broken_file_is_tried_again_when_anything_changes(folder, stepper):
    folder.write("a.py", "from names import ID\nfrom runtime import DAG\nDAG(ID)\n" + "made = DAG(ID)\n")
    stepper.settle()
    assert folder.errors == {
        "a.py": f"line 1: ModuleNotFoundError: No module named 'names'\n"
        f'  File "{folder.path}/a.py", line 1, in <module>\n    from names import ID'
    }
    folder.write("names.py", "ID = 'one'")
    assert stepper.settle(5) == ["a.py"]
    assert folder.errors == {}
    assert folder.dags == {"one": "a.py"}


def test_a_typo_keeps_the_last_good_version_and_one_error(folder, stepper):
    folder.dag("a.py", "one")
    stepper.settle()
    folder.write("a.py", "dag = (")
    stepper.settle(5)
    assert folder.dags == {"one": "a.py"}
    assert folder.errors == {"a.py": "line 1: SyntaxError: '(' was never closed"}


def test_files_without_the_word_are_not_executed(folder, stepper):
    folder.write("lib.py", "raise RuntimeError('executed')")
    assert stepper.settle() == []
    folder.dag("lib.py", "one")
    assert stepper.settle(5) == ["lib.py"]
    folder.write("lib.py", "raise RuntimeError('executed')")
    assert stepper.settle(5) == []
    assert (folder.dags, folder.errors) == ({}, {})


def test_ignore_files(folder, stepper):
    for name in ("a.py", "b_test.py", "old/c.py", "old/keep.py", "sub/d.py", "sub/skip/e.py", ".hidden/f.py", "g.txt"):
        folder.dag(name, name.replace("/", "."))
    folder.write(".hybridignore", "# comment\n*_test.py\nold/*\n!old/keep.py\n")
    folder.write("sub/.airflowignore", "skip/\n")
    assert sorted(stepper.settle()) == ["a.py", "old/keep.py", "sub/d.py"]


def test_links_are_followed_once(folder, stepper):
    folder.dag("real/a.py", "one")
    (folder.path / "real" / "loop").symlink_to(folder.path / "real")
    (folder.path / "broken.py").symlink_to(folder.path / "nowhere.py")
    assert stepper.settle() == ["real/a.py"]


def test_files_that_went_while_nobody_looked_are_forgotten(folder):
    folder.dag("a.py", "one")
    folder.dag("b.py", "two")
    folder.processor().parse_once()
    (folder.path / "a.py").unlink()
    folder.processor().parse_once()
    assert folder.dags == {"two": "b.py"}


def test_a_folder_that_is_away_for_a_moment_ends_no_dag(folder, stepper, caplog):
    folder.dag("a.py", "one")
    stepper.settle()
    folder.path.rename(folder.path.with_name("away"))
    stepper.settle(5)
    stepper.settle(5)
    assert folder.dags == {"one": "a.py"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"the DAGs folder {folder.path} cannot be read: No such file or directory"
    ]
    folder.path.with_name("away").rename(folder.path)
    assert stepper.settle(5) == []


def test_a_store_that_fails_is_asked_again(folder, stepper, monkeypatch):
    folder.dag("a.py", "one")

    def fail(_):
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(folder.store, "save", fail)
        stepper.settle()
    assert stepper.settle(5) == ["a.py"]
    (folder.path / "a.py").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(folder.store, "forget", fail)
        stepper.settle(5)
    assert folder.dags == {"one": "a.py"}
    stepper.settle(5)
    assert folder.dags == {}


def test_no_process_to_be_had_is_waited_out(folder, stepper, monkeypatch, caplog):
    folder.dag("a.py", "one")

    def fail():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fail)
        stepper.processor.step(stepper.now)
    assert caplog.records[-1].getMessage() == (
        "no process can be started to parse a.py: Resource temporarily unavailable"
    )
    assert stepper.settle() == ["a.py"]
    assert folder.dags == {"one": "a.py"}


def test_a_dependency_that_changes_during_the_parse_is_not_missed(folder, stepper):
    """The child waits in its import until the test has changed the module and the processor has seen that."""
    fifo = folder.path.parent / "go"
    os.mkfifo(fifo)
    folder.write("names.py", "ID = 'old'")
    folder.write("a.py", f"import names\nopen({str(fifo)!r}).read()\nfrom runtime import DAG\nmade = DAG(names.ID)\n")
    stepper.processor.step(stepper.now)
    with fifo.open("w"):
        folder.write("names.py", "ID = 'newer'")
        stepper.processor.step(stepper.now + 5)
    stepper.settle(5)
    fifo.unlink()
    fifo.write_text("")
    assert stepper.settle(5) == ["a.py"]
    assert folder.dags == {"newer": "a.py"}


class TestOneIdInTwoFiles:
    def test_the_first_keeps_it_until_it_goes(self, folder, stepper):
        folder.dag("b.py", "same")
        stepper.settle()
        folder.dag("a.py", "same")
        stepper.settle(5)
        assert folder.dags == {"same": "b.py"}
        assert list(folder.errors) == ["a.py"]
        (folder.path / "b.py").unlink()
        assert stepper.settle(5) == ["a.py"]
        assert folder.dags == {"same": "a.py"}
        assert folder.errors == {}

    def test_it_is_free_when_its_file_renames_it(self, folder, stepper):
        folder.dag("b.py", "same")
        stepper.settle()
        folder.dag("a.py", "same")
        stepper.settle(5)
        folder.dag("b.py", "another")
        assert stepper.settle(5) == ["b.py", "a.py"]
        assert folder.dags == {"same": "a.py", "another": "b.py"}

    def test_a_restart_changes_nothing(self, folder, stepper):
        folder.dag("b.py", "same")
        stepper.settle()
        folder.dag("a.py", "same")
        folder.processor().parse_once()
        assert folder.dags == {"same": "b.py"}
        assert list(folder.errors) == ["a.py"]


class TestParseOnce:
    def test_answers_come_by_path(self, folder):
        folder.dag("b.py", "two")
        folder.dag("a.py", "one", "EmptyOperator(task_id='t', executor='heavy')")
        folder.write("c.py", "dag = 1 / 0")
        answers = folder.processor().parse_once()
        assert [(answer.rel_path, [spec.dag_id for spec in answer.dags]) for answer in answers] == [
            ("a.py", ["one"]),
            ("b.py", ["two"]),
            ("c.py", []),
        ]
        assert answers[0].dags[0].tasks[0].executor == "heavy"
        assert answers[2].error.startswith("line 1: ZeroDivisionError: division by zero")

    def test_only_some(self, folder):
        folder.dag("a.py", "one")
        folder.dag("b.py", "two")
        assert [answer.rel_path for answer in folder.processor().parse_once(["b.py", "nowhere.py"])] == ["b.py"]
        assert folder.dags == {"two": "b.py"}

    def test_parsing_twice_gives_the_same_bytes(self, folder):
        from runtime.core.specs import encode

        folder.dag("a.py", "one", "[EmptyOperator(task_id=f't{n}') for n in range(9)] >> EmptyOperator(task_id='z')")
        processor = folder.processor()
        assert encode(processor.parse_once()[0]) == encode(folder.processor().parse_once()[0])

    def test_misspelt_defaults_are_warned_about(self, folder, caplog):
        folder.write("a.py", "from runtime import DAG\nmade = DAG('d', default_args={'retrys': 1})\n")
        assert folder.processor().parse_once()[0].warnings == (
            "DAG 'd': no task takes 'retrys' of default_args, it has no effect; did you mean 'retries'?",
        )


def test_a_bad_executor_list_is_refused_before_anything_is_parsed(folder):
    with pytest.raises(ExecutorConfigError, match=r"\[core\] executor is empty"):
        DagProcessor(folder.path, "", folder.store)


def test_run_stops_at_once_and_kills_what_it_started(folder):
    """Also while a file hangs."""
    started = folder.path.parent / "started"
    folder.write("a.py", f"# dag\nopen({str(started)!r}, 'w').close()\nwhile True: pass\n")
    stop = threading.Event()
    processor = folder.processor(refresh_interval=0.05)
    thread = threading.Thread(target=processor.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 20
    while not started.exists() and time.monotonic() < deadline:
        os.sched_yield()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert started.exists()
    assert not processor._children
