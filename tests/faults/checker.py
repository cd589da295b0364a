"""The invariants of design §10, checked after the faults have stopped, from the database and the tasks' own journal.

:func:`check` raises ``AssertionError`` with every violation. Reads only; knows nothing of executors or of how the
faults were made. Which invariants:

====== ================================================================================================
1      one process per attempt; attempts of a task instance never overlap (the journal's lock and times)
2      finished states are left by *clear* only; every transition is a legal one and follows the last
3      a success has a report, and a journal says that the task came to its end
4      each attempt names an executor and a reason
5      pool, DAG and run limits held after every committed transaction (replayed from the events)
6      nothing open is left: runs, task instances, attempts, inbox rows, slots
7      no executor held more attempts than it has slots
9      one scheduler at a time decided for a run: leases of ended runs are released, dead schedulers are ended
====== ================================================================================================
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import journal
import psycopg
from psycopg.rows import dict_row

from runtime.core.states import LEGAL, TASK_FINISHED, AttemptState, TaskState

Row = dict[str, Any]
ACTIVE = {"queued", "running", "restarting"}


class Story:
    """All rows and journal lines of one home.

    :param url: of its metadata DB on PostgreSQL; by default it is SQLite, in the home.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        with _snapshot(home, url) as rows:
            self.runs = rows("SELECT * FROM dag_run")
            self.instances = rows(
                "SELECT t.*, r.dag_id, r.run_id FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id"
            )
            self.attempts = rows("SELECT * FROM task_attempt ORDER BY id")
            self.events = rows(f"SELECT *, {'at' if url is None else 'xmin::text'} AS tx FROM event ORDER BY id")
            self.inbox = rows("SELECT * FROM run_inbox")
            self.schedulers = rows("SELECT * FROM scheduler ORDER BY started_at")
            self.statuses = rows("SELECT * FROM executor_status")
            self.xcoms = rows("SELECT * FROM xcom")
            self.pools = {row["name"]: row["slots"] for row in rows("SELECT * FROM pool")}
            self.specs = {
                row["id"]: json.loads(row["spec"])
                for row in rows("SELECT v.id, v.spec FROM dag_version v JOIN dag_run r ON r.version_id = v.id")
            }
        self.lines = journal.read(home)
        self.by_instance: dict[str, list[Row]] = defaultdict(list)
        for attempt in self.attempts:
            self.by_instance[attempt["task_instance_id"]].append(attempt)
        self.name = {row["id"]: f"{row['dag_id']}.{row['task_id']} {row['run_id']}" for row in self.instances}


@contextmanager
def _snapshot(home: Path, url: str | None) -> Iterator[Callable[[str], list[Row]]]:
    """What gives the rows of a query, all of one moment."""
    if url is None:
        with closing(sqlite3.connect(home / "hybrid.db", timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            yield lambda sql: [dict(row) for row in connection.execute(sql)]
        return
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), row_factory=dict_row) as server:
        server.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield lambda sql: server.execute(sql).fetchall()


def check(home: Path, *, stopped: bool, slots: dict[str, int] | None = None, url: str | None = None) -> Story:
    """Verify everything; return what was read.

    :param stopped: every scheduler has ended, so that none may be called alive.
    :param slots: executor → ``parallelism``, for invariant 7.
    :param url: see :class:`Story`.
    """
    story = Story(home, url)
    violations = violations_of(story, stopped=stopped, slots=slots)
    assert not violations, "\n".join([f"{len(violations)} violations in {home}:", *violations])
    return story


def violations_of(story: Story, *, stopped: bool, slots: dict[str, int] | None = None) -> list[str]:
    """Each violation in one line, which begins with the number of its invariant; see :func:`check`."""
    return [
        *one_process_per_attempt(story),
        *no_overlap(story),
        *legal_history(story),
        *earned_successes(story),
        *placed_attempts(story),
        *limits_held(story),
        *run_limit_held(story),
        *nothing_left(story),
        *slots_free(story),
        *slots_held(story, slots or {}),
        *leases_released(story, stopped=stopped),
    ]


def one_process_per_attempt(story: Story) -> Iterator[str]:
    """1: each attempt began once, and the database knows it."""
    known = {attempt["id"]: attempt for attempt in story.attempts}
    starts = Counter(line.attempt_id for line in story.lines if line.word == "start")
    for identifier, count in starts.items():
        if count > 1:
            yield f"1: attempt {identifier} was executed {count} times"
        if identifier not in known:
            yield f"1: attempt {identifier} ran and no row says so"
        elif known[identifier]["start_nonce"] is None:
            yield f"1: attempt {identifier} ran without a granted start"


def no_overlap(story: Story) -> Iterator[str]:
    """1: by the journal's lock, and by the times in the database."""
    for line in story.lines:
        if line.word == "overlap":
            yield f"1: attempt {line.attempt_id} of {line.name} began while an older one still ran"
    for identifier, attempts in story.by_instance.items():
        for old, new in pairwise(attempts):
            if old["ended_at"] is None or old["ended_at"] > new["queued_at"]:
                yield f"1: {story.name[identifier]}: attempt {new['id']} was queued before {old['id']} was over"
            if (old["try_number"], old["dispatch_number"]) >= (new["try_number"], new["dispatch_number"]):
                yield f"1: {story.name[identifier]}: attempt {new['id']} does not count on from {old['id']}"


def legal_history(story: Story) -> Iterator[str]:
    """2: the event rows of each task instance are one unbroken chain of legal transitions that ends where it is."""
    last = dict.fromkeys((row["id"] for row in story.instances), str(TaskState.NONE))
    for event in story.events:
        identifier = event["task_instance_id"]
        if identifier is None:
            continue
        old, new, name = event["old_state"], event["new_state"], story.name[identifier]
        if old != last[identifier]:
            yield f"2: {name}: event {event['id']} leaves {old}, but the state was {last[identifier]}"
        if TaskState(new) not in LEGAL[TaskState(old)]:
            yield f"2: {name}: {old} → {new} is illegal"
        if TaskState(old) in TASK_FINISHED and event["actor"] != "clear":
            yield f"2: {name}: {event['actor']} changed the finished state {old} to {new}"
        last[identifier] = new
    for row in story.instances:
        if row["state"] != last[row["id"]]:
            yield f"2: {story.name[row['id']]} is {row['state']}, its events end with {last[row['id']]}"


def earned_successes(story: Story) -> Iterator[str]:
    """3: who is called successful has reported, after the task's own last line."""
    ended = {line.attempt_id for line in story.lines if line.word == "end"}
    started = {line.attempt_id for line in story.lines if line.word == "start"}
    known = {attempt["id"]: attempt for attempt in story.attempts}
    for row in story.instances:
        if row["state"] != TaskState.SUCCESS or row["attempt_id"] is None:
            continue
        attempt = known[row["attempt_id"]]
        if attempt["state"] != AttemptState.SUCCESS:
            yield f"3: {story.name[row['id']]} is a success, its attempt {attempt['id']} is {attempt['state']}"
    journaled = {known[identifier]["task_instance_id"] for identifier in started if identifier in known}
    for attempt in story.attempts:
        if (
            attempt["state"] == AttemptState.SUCCESS
            and attempt["task_instance_id"] in journaled
            and attempt["id"] not in ended
        ):
            yield f"3: attempt {attempt['id']} is a success, but the task never came to its end"
    for row in story.instances:
        successes = [a["id"] for a in story.by_instance.get(row["id"], ()) if a["state"] == AttemptState.SUCCESS]
        if len(successes) > 1 and not any(e["actor"] == "clear" for e in story.events):
            yield f"3: {story.name[row['id']]} succeeded {len(successes)} times"


def placed_attempts(story: Story) -> Iterator[str]:
    """4: executor and reason are stored, never empty."""
    for attempt in story.attempts:
        if not attempt["executor"] or not attempt["executor_reason"]:
            yield f"4: attempt {attempt['id']} has executor {attempt['executor']!r}: {attempt['executor_reason']!r}"


def limits_held(story: Story) -> Iterator[str]:
    """5: after every transaction (the events of one moment and actor)."""
    instance = {row["id"]: row for row in story.instances}
    run = {row["id"]: row for row in story.runs}
    spec = {identifier: story.specs[row["version_id"]] for identifier, row in run.items()}
    active: set[str] = set()
    for events in _transactions(story.events):
        at = events[-1]["at"]
        for event in events:
            if event["task_instance_id"] is not None:
                (active.add if event["new_state"] in ACTIVE else active.discard)(event["task_instance_id"])
        pools: Counter[str] = Counter()
        per_run: Counter[int] = Counter()
        for identifier in active:
            pools[instance[identifier]["pool"]] += instance[identifier]["pool_slots"]
            per_run[instance[identifier]["dag_run_id"]] += 1
        for name, used in pools.items():
            if used > story.pools[name]:
                yield f"5: pool {name} had {used} of {story.pools[name]} slots in use at {at}"
        for identifier, used in per_run.items():
            limit = spec[identifier].get("max_active_tasks", 16)
            if used > limit:
                yield f"5: run {run[identifier]['run_id']} had {used} active tasks of {limit} at {at}"


def _transactions(events: list[Row]) -> list[list[Row]]:
    """The events of each, in an order in which the transactions may have been committed: whoever counted what another
    one had committed took its ids after it.
    """
    grouped: dict[Any, list[Row]] = {}
    for event in events:
        grouped.setdefault((event["tx"], event["actor"]), []).append(event)
    return sorted(grouped.values(), key=lambda group: group[-1]["id"])


def run_limit_held(story: Story) -> Iterator[str]:
    """5: ``max_active_runs``."""
    run = {row["id"]: row for row in story.runs}
    active: dict[str, set[int]] = defaultdict(set)
    for event in story.events:
        if event["task_instance_id"] is not None or event["dag_run_id"] not in run:
            continue
        row = run[event["dag_run_id"]]
        (active[row["dag_id"]].add if event["new_state"] == "running" else active[row["dag_id"]].discard)(row["id"])
        limit = story.specs[row["version_id"]].get("max_active_runs", 16)
        if event["new_state"] == "running" and len(active[row["dag_id"]]) > limit:
            yield f"5: DAG {row['dag_id']} had {len(active[row['dag_id']])} runs of {limit} active at {event['at']}"


def nothing_left(story: Story) -> Iterator[str]:
    """6: no open row."""
    for row in story.runs:
        if row["state"] not in {"success", "failed"}:
            yield f"6: run {row['run_id']} is still {row['state']}"
    for row in story.instances:
        if TaskState(row["state"]) not in TASK_FINISHED:
            yield f"6: {story.name[row['id']]} is still {row['state']}"
    for attempt in story.attempts:
        if attempt["state"] in {"queued", "running"} or attempt["ended_at"] is None:
            yield f"6: attempt {attempt['id']} is still {attempt['state']}"
    for row in story.inbox:
        yield f"6: inbox row {row['id']} ({row['kind']}) of run {row['dag_run_id']} was never applied"


def slots_free(story: Story) -> Iterator[str]:
    """6: no executor of a living scheduler holds anything, and each instance's current attempt is its newest."""
    for row in story.instances:
        newest = story.by_instance[row["id"]][-1]["id"] if row["id"] in story.by_instance else None
        if row["attempt_id"] not in {None, newest}:
            yield f"6: {story.name[row['id']]} points to attempt {row['attempt_id']}, the newest is {newest}"
    alive = {row["id"] for row in story.schedulers if row["ended_at"] is None}
    for row in story.statuses:
        if row["scheduler_id"] in alive and (row["queued"] or row["running"]):
            yield f"6: executor {row['name']} still holds {row['queued']} queued and {row['running']} running"


def slots_held(story: Story, slots: dict[str, int]) -> Iterator[str]:
    """7: running attempts per executor, at each start."""
    for name, limit in slots.items():
        spans = [a for a in story.attempts if a["executor"] == name and a["started_at"] is not None]
        most = _most_at_once((a["started_at"], a["ended_at"]) for a in spans)
        if most > limit:
            yield f"7: executor {name} ran {most} attempts at once and has {limit} slots"


def leases_released(story: Story, *, stopped: bool) -> Iterator[str]:
    """9: nobody holds what is over; a scheduler that is not the newest has been declared ended."""
    for row in story.runs:
        if stopped and row["lease_owner"] is not None and row["state"] not in {"success", "failed"}:
            yield f"9: run {row['run_id']} is still leased by {row['lease_owner']}"
    for row in story.schedulers if stopped else story.schedulers[:-1]:
        if row["ended_at"] is None:
            yield f"9: scheduler {row['id']} (pid {row['pid']}) was never declared ended"


def _most_at_once(spans: Iterable[tuple[int, int]]) -> int:
    changes = sorted(change for start, end in spans for change in ((start, 1), (end, -1)))
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
