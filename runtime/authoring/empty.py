"""A task that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.authoring.baseoperator import BaseOperator


class EmptyOperator(BaseOperator):
    """Joins or names points of a DAG. The scheduler ends it at once, without an executor."""

    def execute(self, context: Mapping[str, Any]) -> None:
        """Nothing."""
