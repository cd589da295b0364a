"""The process manager of the deployment: what ends is started again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deployment import Daemon

RESTART_PAUSE = 0.5
"""Seconds until a daemon that ended by itself is started again."""
STOP_PATIENCE = 30.0
"""Seconds from SIGTERM to SIGKILL."""


@dataclass
class Managed:
    """A daemon that is started again whenever it has ended."""

    name: str
    words: tuple[str, ...]
    environment: dict[str, str]
    """Beside what all have."""
    daemon: Daemon
    pause: float = RESTART_PAUSE
    """Before it is started again, in seconds."""
    due: float | None = None
    """When that is, by ``time.monotonic()``; ``None`` while it runs."""
    kill_at: float | None = None
    asked: bool = False
    """Whether somebody has asked for its end."""
    ends: list[int] = field(default_factory=list)
    """Exit codes that nobody had asked for."""

    @property
    def is_running(self) -> bool:
        """Also: nobody has asked for its end."""
        return self.daemon.process.poll() is None and not self.asked


class Manager:
    """:param start: starts a daemon by its name, its words, and its own part of the environment."""

    def __init__(self, start: Callable[[str, tuple[str, ...], dict[str, str]], Daemon]) -> None:
        self._start = start
        self.managed: dict[str, Managed] = {}

    def __getitem__(self, name: str) -> Managed:
        return self.managed[name]

    def add(self, name: str, words: tuple[str, ...], environment: dict[str, str]) -> None:
        """Start it, and keep it running."""
        self.managed[name] = Managed(name, words, environment, self._start(name, words, environment))

    def tend(self) -> None:
        """Start again what has ended, kill what does not end."""
        now = time.monotonic()
        for managed in self.managed.values():
            code = managed.daemon.process.poll()
            if code is None:
                if managed.kill_at is not None and now >= managed.kill_at:
                    managed.daemon.send(signal.SIGKILL)
            elif managed.due is None:
                managed.due = now + managed.pause
                if not managed.asked:
                    managed.ends.append(code)
            elif now >= managed.due:
                self._start_again(managed)

    def _start_again(self, managed: Managed) -> None:
        managed.daemon = self._start(managed.name, managed.words, managed.environment)
        managed.due = managed.kill_at = None
        managed.pause, managed.asked = RESTART_PAUSE, False

    def end(self, name: str, how: signal.Signals, pause: float) -> None:
        """SIGKILL or SIGTERM a daemon; it is back ``pause`` seconds after its end."""
        managed = self.managed[name]
        managed.pause, managed.asked = pause, True
        if how == signal.SIGTERM:
            managed.kill_at = time.monotonic() + STOP_PATIENCE
        managed.daemon.send(how)

    def end_all(self) -> list[str]:
        """SIGTERM to all, for good; those that did not end then."""
        for managed in self.managed.values():
            managed.daemon.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE
        stuck = []
        for managed in self.managed.values():
            try:
                managed.daemon.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                stuck.append(f"{managed.name} did not end within {STOP_PATIENCE:g} s of SIGTERM")
        return stuck

    @property
    def ended_by_themselves(self) -> int:
        return sum(len(managed.ends) for managed in self.managed.values())
