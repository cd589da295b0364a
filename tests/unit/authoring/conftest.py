"""Task instances as tasks see them, without a worker."""

from __future__ import annotations

from typing import Any

import pytest


class XComs:
    """``ti`` of a context: answers pulls from a dictionary by (task id, key), with the worker's signature."""

    def __init__(self, values: dict[tuple[str, str], Any]) -> None:
        self.values = values

    def xcom_pull(self, task_ids=None, dag_id=None, key="return_value", *, map_indexes=None, default=None):
        return self.values.get((task_ids, key), default)


@pytest.fixture
def context_of():
    """A context in which the given tasks have returned the given values."""

    def make(**returned: Any) -> dict[str, Any]:
        ti = XComs({(task_id, "return_value"): value for task_id, value in returned.items()})
        return {"ti": ti, "task_instance": ti, "ds": "2024-05-01", "run_id": "r1", "params": {"city": "Lisbon"}}

    return make
