"""Which pods ``hybrid kubernetes cleanup-pods`` deletes."""

from __future__ import annotations

from typing import Any

import pytest

from executors.kubernetes.cleanup import why

NOW = 1_700_000_000.0
MADE = {"old": "2023-11-14T20:00:00Z", "new": "2023-11-14T22:10:00Z"}
"""2 h 13 min and 3 min before ``NOW``."""


@pytest.mark.parametrize(
    ("status", "age", "policy", "expected"),
    [
        ({"phase": "Succeeded"}, "new", "Never", "succeeded"),
        ({"phase": "Failed"}, "new", "Never", "failed"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "new", "Never", "failed: DeadlineExceeded"),
        ({"phase": "Failed"}, "old", "OnFailure", None),
        ({"phase": "Failed", "reason": "Evicted"}, "new", "Always", "was evicted"),
        ({"phase": "Pending"}, "old", "Never", "has been pending for 133 minutes"),
        ({"phase": "Pending"}, "new", "Never", None),
        ({}, "old", "Never", "has been pending for 133 minutes"),
        ({"phase": "Running"}, "old", "Never", None),
        ({"phase": "Unknown"}, "old", "Never", None),
    ],
)
def test_rule(status: dict[str, Any], age: str, policy: str, expected: str | None) -> None:
    pod = {"metadata": {"creationTimestamp": MADE[age]}, "spec": {"restartPolicy": policy}, "status": status}
    assert why(pod, 30 * 60.0, NOW) == expected


def test_pod_without_a_date_is_new() -> None:
    assert why({"metadata": {}, "status": {"phase": "Pending"}}, 300.0, NOW) is None
