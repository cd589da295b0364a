"""Child of the benchmarks: the least that a runtime with a process, a log and two durable facts per attempt can do.

Two worker processes of real size, driven over pipes by one parent that owns the database. Per attempt: a commit of its
start (one UPDATE, one INSERT; SQLite, WAL, ``synchronous=NORMAL``), a message to a free worker, a fork, a log file with
three lines in a folder of its own, a message back, a commit of its end. Nothing else: no scheduling, no user code.

``python -m benchmarks.skeleton FOLDER ATTEMPTS`` prints ``{"rate": …, "cpu_ms": …}``, attempts per second and CPU time
per attempt, after as many for warming up.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from benchmarks.warm_size import grow_to_worker_size

WORKERS = 2
_LONGEST = 4096


def main() -> None:
    """Measure and print."""
    folder, attempts = Path(sys.argv[1]), int(sys.argv[2])
    grow_to_worker_size(folder)
    logs = [folder / name for name in ("warm_up", "measured")]
    for path in logs:
        path.mkdir()
    with closing(_database(folder / "skeleton.db", attempts * len(logs))) as database:
        workers = [_hire() for _ in range(WORKERS)]
        before = _cpu(resource.RUSAGE_SELF)
        rates = [
            _drive(workers, database, path, range(n * attempts, (n + 1) * attempts)) for n, path in enumerate(logs)
        ]
        spent = _cpu(resource.RUSAGE_SELF) - before
    for worker in workers:
        worker.close()
    for _ in workers:
        os.wait()
    spent += _cpu(resource.RUSAGE_CHILDREN)
    print(json.dumps({"rate": rates[-1], "cpu_ms": 1000 * spent / (attempts * len(logs))}))


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _drive(workers: list[socket.socket], database: sqlite3.Connection, logs: Path, attempts: range) -> float:
    """Keep every worker busy until all attempts have ended; attempts per second."""
    poller = select.poll()
    by_fd = {worker.fileno(): worker for worker in workers}
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    began = time.perf_counter()
    waiting = iter(attempts)
    for worker in workers:
        _hand_over(worker, database, logs, next(waiting, None))
    left = len(attempts)
    while left:
        for fd, _ in poller.poll():
            number = int(by_fd[fd].recv(_LONGEST).rpartition(b"t")[2])
            _commit(database, "success", number)
            left -= 1
            _hand_over(by_fd[fd], database, logs, next(waiting, None))
    return len(attempts) / (time.perf_counter() - began)


def _hand_over(worker: socket.socket, database: sqlite3.Connection, logs: Path, number: int | None) -> None:
    if number is not None:
        _commit(database, "running", number)
        worker.send(f"{logs}/task_id=t{number}".encode())


def _commit(database: sqlite3.Connection, state: str, number: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE attempt SET state = ?, at = ? WHERE id = ?", (state, time.time_ns(), number))
    database.execute("INSERT INTO event (attempt, state, at) VALUES (?, ?, ?)", (number, state, time.time_ns()))
    database.execute("COMMIT")


def _database(path: Path, attempts: int) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE attempt (id INTEGER PRIMARY KEY, state TEXT, at INTEGER)")
    database.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, attempt INTEGER, state TEXT, at INTEGER)")
    database.executemany("INSERT INTO attempt VALUES (?, 'none', 0)", [(number,) for number in range(attempts)])
    return database


def _hire() -> socket.socket:
    """Fork a worker; the line to it, on which it gets folders to log in and sends them back when it is done."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _work(theirs)
    theirs.close()
    return ours


def _work(line: socket.socket) -> NoReturn:
    while folder := line.recv(_LONGEST):
        pid = os.fork()
        if pid == 0:
            _attempt(folder.decode())
        os.waitpid(pid, 0)
        line.send(folder)
    os._exit(0)


def _attempt(folder: str) -> NoReturn:
    os.mkdir(folder, 0o700)
    log = os.open(f"{folder}/attempt=1.log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for text in ("begins", "does nothing", "success"):
        os.write(log, f"[2026-01-01T00:00:00.000000Z] {{skeleton.py:1}} INFO - {text}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
