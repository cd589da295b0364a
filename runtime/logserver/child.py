"""The log server of a scheduler's host: a child process, so that reading logs never disturbs the scheduler's loop."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from runtime.config import Settings
from runtime.core.errors import HybridError
from runtime.logserver.listening import listen, place

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
STEADY_SECONDS = 60.0
"""One that ran for so long did not fail to come up: the next pause is the first one again."""
END_SECONDS = 2.0
LOG_SECRET_VARIABLE = "HYBRID__LOGGING__WORKER_LOG_SERVER_SECRET"  # noqa: S105  a name
"""All that the child has to know of the keys."""
COMMAND = (sys.executable, "-m", "runtime.cli.main", "serve-logs")


class LogServerChild:
    """Call :meth:`tend` often, from the main thread: the kernel ends the child with the thread that started it."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._look_at = 0.0
        self._failures = 0
        self._told = ""

    @property
    def pid(self) -> int | None:
        """Of the child; ``None`` while there is none."""
        return None if self._process is None else self._process.pid

    def tend(self, now: float | None = None) -> None:
        """Start it where it does not run and its pause is over. Cheap, never blocks, never raises."""
        now = time.monotonic() if now is None else now
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if self._process is None:
            self._start(now)
        elif (code := self._process.poll()) is not None:
            self._process = None
            if now - self._started > STEADY_SECONDS:
                self._failures = 0
            self._pause(now, f"the log server has ended with exit code {code}")

    def close(self) -> None:
        """End it. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, now: float) -> None:
        """Listen here, for then a taken port costs no process; hand the socket over, and keep nothing of it."""
        from runtime.tokens.keys import log_secret

        try:
            with listen(self._settings.logging) as listener:
                number = listener.fileno()
                self._process = subprocess.Popen(
                    [*self._command, "--descriptor", str(number), "--parent", str(os.getpid())],
                    pass_fds=(number,),
                    env={**os.environ, LOG_SECRET_VARIABLE: log_secret(self._settings)},
                    stdin=subprocess.DEVNULL,
                    process_group=0,
                )
        except OSError as error:
            self._pause(
                now,
                f"no log server on {place(self._settings.logging)}: {error.strerror}; other hosts cannot read this "
                "host's logs unless what holds the port serves them",
            )
            return
        except HybridError as error:
            self._pause(now, f"no log server: {error}")
            return
        self._started = now

    def _pause(self, now: float, reason: str) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._look_at = now + pause
        # Once: what was said does not become truer by saying it each minute.
        log.log(logging.DEBUG if reason == self._told else logging.WARNING, "%s; again in %g s", reason, pause)
        self._told = reason
