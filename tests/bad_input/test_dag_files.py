"""Every bad DAG file of the issue: one clear error, and the good file beside it is not disturbed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import open_database
from runtime.db.schema import import_error
from runtime.processing.processor import DagProcessor

HEAD = "from datetime import datetime, timedelta\nfrom runtime import DAG, BashOperator, EmptyOperator, task\n"
NO_ID = "use at most 250 letters, digits, dashes, dots, underscores, and no '..'"
CHOICES = "(configured: LocalExecutor, heavy)"

BAD = {
    "syntax error": ("with DAG('d') as dag\n    pass", "line 3: SyntaxError: expected ':'"),
    "bad indentation": ("if True:\npass  # dag", "line 4: IndentationError: expected an indented block after 'if' "
                        "statement on line 3"),
    "import error": ("import nowhere  # dag", "line 3: ModuleNotFoundError: No module named 'nowhere'"),
    "name that is not there": ("from runtime import Dagg", "line 3: ImportError: cannot import name 'Dagg'"),
    "exception": ("def make():\n    raise KeyError('dag')\nmake()", "line 4: KeyError: 'dag'"),
    "exit": ("exit()  # dag", "line 3: the file calls exit() while it is imported; remove it"),
    "sys.exit with a code": ("import sys\nsys.exit(3)  # dag", "line 4: the file calls exit(3) while it is imported; "
                             "remove it"),
    "os._exit": ("import os\nos._exit(7)  # dag", "importing the file ended the process (exit code 7) without an "
                 "answer; remove the call of os._exit, or whatever closes files that it did not open"),
    "segfault": ("import ctypes  # dag\nctypes.string_at(0)", "line 4: importing the file was ended by SIGSEGV: a "
                 "library that the file imports crashed the interpreter"),
    "killed": ("import os, signal  # dag\nos.kill(os.getpid(), signal.SIGKILL)", "importing the file was ended by "
               "SIGKILL: out of memory?"),
    "endless recursion": ("def f():\n    return f()\nf()  # dag", "line 4: RecursionError: maximum recursion depth "
                          "exceeded"),
    "closed pipe": ("import os  # dag\nos.closerange(3, 1000)", "importing the file ended the process (exit code 0) "
                    "without an answer; remove the call of os._exit, or whatever closes files that it did not open"),
    "cycle": ("with DAG('d'):\n    a, b, c = (EmptyOperator(task_id=x) for x in 'abc')\n    a >> b >> c >> a",
              "DAG 'd' has a cycle: a → b → c → a"),
    "duplicate task_id": ("with DAG('d'):\n    EmptyOperator(task_id='a')\n    EmptyOperator(task_id='a')",
                          "line 5: DAG 'd' has two tasks 'a'; rename one"),
    "duplicate dag_id in one file": ("a = DAG('d')\nb = DAG('d')", "bad.py defines two DAGs 'd'; rename one"),
    "rule that ignores a setup": ("with DAG('d'):\n    EmptyOperator(task_id='s').as_setup() >> EmptyOperator("
                                  "task_id='u', trigger_rule='always')", "DAG 'd': task 'u' follows the setup 's' "
                                  "and must have the trigger rule all_success, not always"),
    "default that its schema forbids": ("from runtime import Param\nDAG('d', params={'n': Param('x', type='integer')})",
                                        "line 4: DAG 'd': param 'n' = 'x': 'x' is not of type 'integer' (rule type: "
                                        "'integer')"),
    "schema that is none": ("from runtime import Param\nDAG('d', params={'n': Param(1, type='intege')})", "line 4: "
                            "DAG 'd': param 'n': its schema['type'] is no JSON schema: 'intege' is not valid under any "
                            "of the given schemas"),
    "two groups of one name": ("from runtime import TaskGroup\nwith DAG('d'):\n    TaskGroup('g')\n    "
                               "TaskGroup('g')", "line 6: DAG 'd' has two tasks or groups 'g'; rename one"),
    "filter that is none": ("DAG('d', user_defined_filters={'f': 3})", "line 3: DAG 'd': user_defined_filters['f'] "
                            "must be a function, not 3"),
    "illegal dag_id": ("DAG('my dag')", f"line 3: dag_id 'my dag' is not allowed; {NO_ID}"),
    "illegal task_id": ("with DAG('d'):\n    EmptyOperator(task_id='a/b')", f"line 4: task_id 'a/b' is not allowed; "
                        f"{NO_ID}"),
    "bad cron": ("DAG('d', schedule='61 * * * *')", "line 3: DAG 'd': bad cron '61 * * * *': [61 * * * *] is not "
                 "acceptable, out of range"),
    "cron that never fires": ("DAG('d', schedule='0 0 30 2 *')", "line 3: DAG 'd': bad cron '0 0 30 2 *': it never "
                              "fires"),
    "unknown preset": ("DAG('d', schedule='@dayly')", "line 3: DAG 'd': unknown schedule preset '@dayly'; did you mean "
                       "'@daily'?"),
    "year 1": ("DAG('d', start_date=datetime(1, 1, 1))", "line 3: DAG 'd': start_date in the year 1 is outside the "
               "years 1900 to 2199; use a date near your data"),
    "year 9999": ("DAG('d', end_date=datetime.max)", "line 3: DAG 'd': end_date in the year 9999 is outside the years "
                  "1900 to 2199; leave it out for no end"),
    "start after end": ("DAG('d', start_date=datetime(2025, 1, 2), end_date=datetime(2025, 1, 1))",
                        "line 3: DAG 'd': start_date 2025-01-02T00:00:00.000000+00:00 is after end_date "
                        "2025-01-01T00:00:00.000000+00:00"),
    "interval of nothing": ("DAG('d', schedule=timedelta(0))", "line 3: DAG 'd': schedule of 0 seconds; use a "
                            "timedelta of 1 second to 100 years"),
    "unknown time zone": ("DAG('d', timezone='Europe/Berln')", "line 3: DAG 'd': unknown time zone 'Europe/Berln'; did "
                          "you mean 'Europe/Berlin'?"),
    "unknown trigger rule": ("with DAG('d'):\n    EmptyOperator(task_id='t', trigger_rule='all_sucess')",
                             "line 4: task 't': unknown trigger_rule 'all_sucess'; did you mean 'all_success'?"),
    "template error": ("with DAG('d'):\n    BashOperator(task_id='t', bash_command='echo a\\necho {{ ds')",
                       "DAG 'd', task 't', field 'bash_command', line 2: template error: unexpected end of template, "
                       "expected 'end of print statement'."),
    "missing template file": ("with DAG('d'):\n    BashOperator(task_id='t', bash_command='run.sh')",
                              "DAG 'd', task 't', field 'bash_command': 'run.sh' ends like a template file, but "
                              "{folder}/run.sh cannot be read (No such file or directory); to use it as a command, end "
                              "it with a space"),
    "unknown argument of a DAG": ("DAG('d', shedule='@daily')", "line 3: DAG 'd': unknown argument 'shedule'; did you "
                                  "mean 'schedule'?"),
    "unknown argument of a task": ("with DAG('d'):\n    EmptyOperator(task_id='t', retires=3)",
                                   "line 4: EmptyOperator 't': unknown argument 'retires'; did you mean 'retries'?"),
    "unknown executor": ("with DAG('d'):\n    EmptyOperator(task_id='t', executor='hevy')",
                         f"DAG 'd', task 't': unknown executor 'hevy'; did you mean heavy? {CHOICES}"),
    "unknown executor of default_args": (
        "with DAG('d', default_args={'executor': 'gpu'}):\n    EmptyOperator(task_id='t')",
        f"DAG 'd', task 't': unknown executor 'gpu' {CHOICES} (executor of default_args)"),
    "unknown executor of the DAG": (
        "with DAG('d', executor='CeleryExecutor'):\n    EmptyOperator(task_id='t')",
        f"DAG 'd', task 't': unknown executor 'CeleryExecutor'; add it to [core] executor to use it {CHOICES} "
        "(executor of the DAG)"),
    "empty executor": ("with DAG('d'):\n    EmptyOperator(task_id='t', executor='')", "line 4: task 't': executor is "
                       "empty; name an executor or leave it out"),
    "executor of the wrong type": ("with DAG('d'):\n    EmptyOperator(task_id='t', executor=3)", "line 4: task 't': "
                                   "executor must be the name of an executor, or a list of names, not 3"),
}  # fmt: skip
"""What the file says after ``HEAD`` (two lines) → first line of its error; ``{folder}`` is the DAGs folder."""


@pytest.fixture
def dags(tmp_path):
    """A DAGs folder with one good file."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "good.py").write_text(HEAD + "with DAG('good'):\n    EmptyOperator(task_id='t')\n")
    return folder


@pytest.fixture
def parse(settings, dags):
    """Parse the folder into the database; the errors found there, by file. The good file must have survived."""
    database = open_database(settings)

    def run(**options) -> dict[str, str]:
        processor = DagProcessor(
            dags,
            "LocalExecutor, heavy:LocalExecutor",
            DatabaseDagStore(database),
            **{"import_timeout": 30.0, **options},
        )
        answers = processor.parse_once()
        good = next(answer for answer in answers if answer.rel_path == "good.py")
        assert [spec.dag_id for spec in good.dags] == ["good"]
        with database.read() as connection:
            rows = connection.execute(select(import_error.c.rel_path, import_error.c.error)).all()
        return {row.rel_path: row.error for row in rows}

    yield run
    database.close()


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_error(case, dags, parse):
    """Only the first line counts here; what a file's own code raised is followed by the way there."""
    text, message = BAD[case]
    (dags / "bad.py").write_text(f"{HEAD}{text}\n")
    errors = parse()
    assert list(errors) == ["bad.py"]
    assert errors["bad.py"].splitlines()[0].startswith(message.replace("{folder}", str(dags)))


def test_what_the_files_own_code_raised_shows_the_way_there(dags, parse):
    (dags / "helper.py").write_text("def make():\n    return 1 / 0\n")
    (dags / "bad.py").write_text("import helper\ndag = helper.make()\n")
    assert parse()["bad.py"].splitlines() == [
        "helper.py, line 2: ZeroDivisionError: division by zero",
        f'  File "{dags}/bad.py", line 2, in <module>',
        "    dag = helper.make()",
        "          ^^^^^^^^^^^^^",
        f'  File "{dags}/helper.py", line 2, in make',
        "    return 1 / 0",
        "           ~~^~~",
    ]


def test_an_endless_loop_says_where(dags, parse):
    (dags / "bad.py").write_text("# dag\nwhile True:\n    pass\n")
    error = parse(import_timeout=0.3)["bad.py"]
    assert error.partition(": ")[0] in ("line 2", "line 3")
    assert error.partition(": ")[2] == (
        "importing the file takes longer than 0.3 s ([core] dagbag_import_timeout); "
        "move slow work from its top level into tasks"
    )


def test_a_loop_that_swallows_everything_is_killed(dags, parse, monkeypatch):
    monkeypatch.setattr("runtime.processing.child.GRACE", 0.2)
    text = "import signal  # dag\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.Signals)\nwhile True: pass\n"
    (dags / "bad.py").write_text(text)
    assert parse(import_timeout=0.3)["bad.py"].startswith("line 3: importing the file takes longer than 0.3 s")


def test_duplicate_dag_id_in_two_files(dags, parse):
    (dags / "later.py").write_text(HEAD + "made = DAG('good')\n")
    parse_first = parse(max_workers=1)
    assert parse_first == {
        "later.py": "DAG id 'good' is already defined in good.py; rename it there or in later.py, or remove one of the "
        "files"
    }


def test_megabytes_of_output_are_no_error(dags, parse, capfd):
    text = "import os, sys, logging\nfor _ in range(300):\n    print('x' * 10_000)\n    os.write(2, b'y' * 10_000)\n"
    (dags / "loud.py").write_text(f"{HEAD}{text}logging.warning('z')\nmade = DAG('loud')\n")
    assert parse() == {}
    assert "x" * 100 not in capfd.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()",
        "import subprocess\nsubprocess.Popen(['sleep', '300'])",
        "import os, time\nif os.fork() == 0:\n    time.sleep(300)",
        "import os\nos.fork()",
        "import atexit, time\natexit.register(time.sleep, 300)",
    ],
    ids=["thread", "process", "fork", "fork that runs on", "exit handler"],
)
def test_what_a_file_leaves_running_is_no_error_and_does_not_stay(text, dags, parse):
    mark = dags.parent / "pids"
    tell = f"import os\nopen({str(mark)!r}, 'a').write(f'{{os.getpgrp()}} ')\n"
    (dags / "busy.py").write_text(f"{HEAD}{text}\n{tell}made = DAG('busy')\n")
    assert parse() == {}
    for group in map(int, set(mark.read_text().split())):
        assert ended(group), "a process of the file is still alive"


def ended(group: int) -> bool:
    """Whether every process of the group is gone, or dead and waiting for whoever reaps orphans here."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(state != "Z" for state in states(group)):
            return True
    return False


def states(group: int) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            state, _, pgrp = stat[stat.rindex(")") + 2 :].split()[:3]
            if int(pgrp) == group:
                found.append(state)
    return found


def test_a_file_that_cannot_be_read(dags, parse):
    if os.geteuid() == 0:
        (dags / "bad.py").mkdir()  # root reads everything but folders
        assert parse() == {}
        return
    (dags / "bad.py").write_text("dag")
    (dags / "bad.py").chmod(0)
    assert parse() == {"bad.py": "the file cannot be read: Permission denied"}


def test_binary_rubbish(dags, parse):
    (dags / "bad.py").write_bytes(b"dag\0\xff\xfe")
    assert parse()["bad.py"].splitlines()[0].endswith("source code string cannot contain null bytes")


def test_more_data_than_a_file_may_make(dags, parse, monkeypatch):
    monkeypatch.setattr("runtime.processing.child.MAX_ANSWER", 50_000)
    (dags / "bad.py").write_text(HEAD + "made = DAG('d', description='x' * 60_000)\n")
    assert parse()["bad.py"] == "its DAGs take 0 MB as data; the limit is 0 MB per file"


def test_an_exception_whose_text_cannot_be_told(dags, parse):
    text = "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E  # dag\n"
    (dags / "bad.py").write_text(text)
    assert parse()["bad.py"].splitlines()[0] == "line 3: E: (its text cannot be told: __str__ raises)"
