"""What a process holds: descriptors, threads, and the processes that descend from it."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return _state(pid) not in ("", "Z", "X")


def descendants() -> list[int]:
    """Pids of all that descend from this process, unreaped zombies among them."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = list(_children(waiting.pop()))
        found += children
        waiting += children
    return found


def held() -> Counter[str]:
    """What this process holds, by kind, to be compared with what it holds later."""
    counts: Counter[str] = Counter(f"descriptor {kind}" for kind in _descriptors())
    counts.update(f"thread {_kind(thread.name)}" for thread in threading.enumerate())
    counts.update(f"process {_command(pid)}" for pid in descendants())
    return counts


def settled(seconds: float = 5.0) -> Counter[str]:
    """:func:`held`, as soon as it stays the same: while a child ends, the kernel's list of children may miss others."""
    deadline = time.monotonic() + seconds
    last, same = held(), 0
    while same < 3 and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
        found = held()
        last, same = found, same + 1 if found == last else 0
    return last


def _descriptors() -> Iterable[str]:
    for fd in os.listdir("/proc/self/fd"):
        try:
            yield _kind(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # the listing's own


def _kind(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _command(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return _kind(command) or "(zombie)"


def _children(pid: int) -> Iterable[int]:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())
    except OSError:
        return


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat[stat.rindex(")") + 2]
