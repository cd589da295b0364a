"""What went wrong, sorted into four words.

======= ============================================================================================================
lost    an attempt, a task or a run that never ended; a run that ended without one of its tasks; a success whose
        effects, its journal's last line and what it returned, are not there; a date of the schedule without its run
doubled an attempt that two processes executed, or that began while an older one of its task still ran
wrong   an illegal history, a state that nobody earned, an attempt that was moved, a limit that did not hold; a task
        that failed although its own code did not or that succeeded twice; a scheduler that lives on in the database
leaked  a process, an inbox row, a message in the broker, a slot, a ticket file, a lease that is left over
======= ============================================================================================================
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import checker
from checker import Story

WORDS = ("lost", "doubled", "wrong", "leaked")
MOST_SHOWN = 200


@dataclass(frozen=True)
class Verdict:
    """Violations, each in one line, by word."""

    found: dict[str, list[str]] = field(default_factory=lambda: {word: [] for word in WORDS})

    @property
    def is_good(self) -> bool:
        return not any(self.found.values())

    def counts(self) -> dict[str, int]:
        return {word: len(self.found[word]) for word in WORDS}

    def lines(self) -> list[str]:
        """Every violation, the first ``MOST_SHOWN`` of each word."""
        return [f"{word}: {line}" for word in WORDS for line in self.found[word][:MOST_SHOWN]]


def judge(story: Story, leaks: Sequence[str], *, dates: int) -> Verdict:
    """Check every invariant.

    :param leaks: what was seen left over in processes, broker and files.
    :param dates: how many runs the schedule of ``past`` has.
    """
    return Verdict(
        {
            "lost": [*_unended(story), *effects_missing(story), *dates_missing(story, dates)],
            "doubled": [*checker.one_process_per_attempt(story), *checker.no_overlap(story)],
            "wrong": [
                *checker.legal_history(story),
                *checker.earned_successes(story),
                *unearned_failures(story),
                *checker.placed_attempts(story),
                *checker.limits_held(story),
                *checker.run_limit_held(story),
                *_of(checker.leases_released(story, stopped=True), "was never declared ended"),
            ],
            "leaked": [
                *leaks,
                *_of(checker.nothing_left(story), "inbox row"),
                *checker.slots_free(story),
                *_of(checker.leases_released(story, stopped=True), "still leased"),
            ],
        }
    )


def _of(lines: Iterator[str], words: str) -> Iterator[str]:
    return (line for line in lines if words in line)


def _unended(story: Story) -> Iterator[str]:
    return (line for line in checker.nothing_left(story) if "inbox row" not in line)


def effects_missing(story: Story) -> Iterator[str]:
    """A success whose last words, or whose return value, are not there or are another attempt's."""
    ended = {line.attempt_id for line in story.lines if line.word == "end"}
    returned = {(row["dag_run_id"], row["task_id"]): row for row in story.xcoms if row["key"] == "return_value"}
    for row in story.instances:
        if row["state"] != "success":
            continue
        name, attempt = story.name[row["id"]], row["attempt_id"]
        if attempt not in ended:
            yield f"{name}: its success {attempt} never came to its end"
        value = returned.get((row["dag_run_id"], row["task_id"]))
        if value is None or value["attempt_id"] != attempt or json.loads(value["value"])["attempt"] != attempt:
            yield f"{name}: what its success {attempt} returned is not there, but {value}"


def unearned_failures(story: Story) -> Iterator[str]:
    """Nothing here fails but by its own code, which says so in the journal, and not for ever."""
    failed = {line.attempt_id for line in story.lines if line.word == "fail"}
    for attempt in story.attempts:
        if attempt["state"] == "failed" and attempt["id"] not in failed:
            name = story.name[attempt["task_instance_id"]]
            yield f"{name}: attempt {attempt['id']} failed, and not by its own code: {attempt['reason']}"
    for row in story.instances:
        if row["state"] in ("failed", "upstream_failed", "skipped", "removed"):
            yield f"{story.name[row['id']]} is {row['state']}: {row['reason']}"
    for run in story.runs:
        if run["state"] == "failed":
            yield f"run {run['run_id']} of {run['dag_id']} failed: {run['reason']}"


def dates_missing(story: Story, dates: int) -> Iterator[str]:
    """10: one run for each date of the schedule; two of one date the database itself refuses."""
    runs = Counter(run["logical_date"] for run in story.runs if run["run_type"] == "scheduled")
    if len(runs) != dates:
        yield f"10: the schedule has {dates} dates, {len(runs)} of them have a run"
