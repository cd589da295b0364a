"""``task_isolation = reuse``: attempts run in the worker process itself, one after the other.

There is no process to kill but the worker. A tick (SIGALRM) between the bytecodes of user code keeps up heartbeats, obeys
KILL and raises ``execution_timeout``; a task that holds the interpreter in C code is out of its reach, and one that does
not end within its grace takes the worker down. What a task changes in the process, the next one finds changed.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType

import msgspec

from executors.local.channel import Channel
from runtime.authoring.exceptions import TaskTimeout
from runtime.core.messages import XComPull, XComPush
from runtime.worker.attempt import Process, run_logged
from runtime.worker.interrupts import Interrupts, TaskKilled
from runtime.worker.linux import boottime, kill_group, started_ticks, sweep_children, thread_count
from runtime.worker.protocol import Begin, Result
from runtime.worker.reporter import Reporter
from runtime.worker.session import NEVER, End, Host, Session
from runtime.worker.task import Job

TICK = 1.0
"""Seconds. A KILL or a heartbeat waits at most so long."""
