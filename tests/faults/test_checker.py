"""The checker finds what it is there for: a good home passes, and each kind of damage is named by its invariant."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from checker import check
from faulty import SLOTS, finished_home

DAMAGE = {
    "1: attempt ran twice": "journal:start {attempt} 1 1 x",
    "1: attempt unknown": "journal:start no-such-attempt 1 1 x",
    "1: attempts overlapped": "journal:overlap {attempt} 1 1 x",
    "1: ran without a grant": "UPDATE task_attempt SET start_nonce = NULL",
    "2: state without an event": "UPDATE task_instance SET state = 'skipped' WHERE task_id = 'join'",
    "2: broken chain": "UPDATE event SET old_state = 'none' WHERE new_state = 'success'",
    "3: success without an end": "journal:",
    "3: success of a lost attempt": "UPDATE task_attempt SET state = 'lost'",
    "4: no reason": "UPDATE task_attempt SET executor_reason = ''",
    "5: pool too small": "UPDATE pool SET slots = 0",
    "6: run not ended": "UPDATE dag_run SET state = 'running'",
    "6: attempt not ended": "UPDATE task_attempt SET state = 'running'",
    "6: inbox row left": "INSERT INTO run_inbox (dag_run_id, kind, created_at) VALUES (1, 'ended', 0)",
    "6: slot left": "UPDATE executor_status SET running = 1; UPDATE scheduler SET ended_at = NULL",
    "7: too many at once": "UPDATE task_attempt SET executor = 'heavy', started_at = 0",
    "9: scheduler not ended": "UPDATE scheduler SET ended_at = NULL",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a run that nothing has disturbed."""
    return finished_home(tmp_path_factory.mktemp("good") / "home")


def test_a_good_home_passes(good):
    story = check(good, stopped=True, slots=SLOTS)
    assert len(story.instances) == 12
    assert len(story.attempts) == 12


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(good, tmp_path, kind):
    home = tmp_path / "home"
    shutil.copytree(good, home, ignore=shutil.ignore_patterns("*.sock", "run"))
    damage(home, DAMAGE[kind])
    with pytest.raises(AssertionError, match=rf"\n{kind[0]}: "):
        check(home, stopped=True, slots=SLOTS)


def damage(home: Path, what: str) -> None:
    """Run SQL, or append a journal line; ``journal:`` alone removes the end lines."""
    lines = home / "witness" / "lines"
    if what == "journal:":
        kept = [line for line in lines.read_text().splitlines() if not line.startswith("end ")]
        lines.write_text("\n".join(kept) + "\n")
    elif what.startswith("journal:"):
        attempt = lines.read_text().split()[1]
        with lines.open("a") as file:
            file.write(what.removeprefix("journal:").format(attempt=attempt) + "\n")
    else:
        with closing(sqlite3.connect(home / "hybrid.db")) as connection:
            connection.executescript(what)
            connection.commit()
