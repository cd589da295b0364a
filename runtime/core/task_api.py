"""The task service over HTTP, as both ends agree on it (:mod:`runtime.core.messages` says what the bodies hold).

::

    POST {url}/attempts/{attempt_id}/{action}      url ends in /execution/v1; action is the request's type
    Authorization: Bearer TOKEN                    start: the start ticket; else the newest running token
    body: the request, encoded as for the pipe     its attempt_id is that of the path

Answers whose body is the encoded reply:

===== ===========================================================================================
200   yes; with a granted start, and with each heartbeat, the header ``Hybrid-Token`` brings a new running token
409   no, and the reply's ``reason`` says why: do not ask again
410   no: the attempt is over or replaced; stop its task
===== ===========================================================================================

Answers whose body is ``{"detail": "one line"}``: 400 malformed, 401 no valid token, 403 a token for something else,
404 no such path, 405, 413 too large; they are final. 429, 5xx and no answer at all mean *ask again*: nothing is known.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

PREFIX = "/execution/v1"
TOKEN_HEADER = "Hybrid-Token"  # noqa: S105  its name
TICKET_VARIABLE = "HYBRID_START_TICKET"
"""Environment variable that brings a start ticket to ``hybrid tasks run``."""
URL_VARIABLE = "HYBRID__CORE__EXECUTION_API_SERVER_URL"
"""Environment variable that tells what a process starts where the task API is, whatever the configuration says."""
Action: TypeAlias = Literal[
    "start",
    "heartbeat",
    "finish",
    "xcom_pull",
    "xcom_push",
    "variable_get",
    "variable_set",
    "variable_delete",
    "connection_get",
    "trigger_run",
    "run_state_get",
]
MAX_BODY = 50 * 2**20
"""Bytes; the largest body is a return value."""


def action_path(attempt_id: str, action: Action) -> str:
    """What follows the configured URL."""
    return f"/attempts/{attempt_id}/{action}"
