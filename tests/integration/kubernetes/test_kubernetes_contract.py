"""The executors' contract, kept by KubernetesExecutor on a cluster whose kubelet runs real processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes_host import make_executor, reporting, started

from executors.base import BaseExecutor
from executors.testing import ExecutorContract
from executors.workload import Workload
from tests.kubernetes_api import FakeCluster


class TestKubernetesExecutor(ExecutorContract):
    """Launches are commands that pods run; they report by leaving a file."""

    adopts = True

    @pytest.fixture
    def executor(self, cluster: FakeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseExecutor]:
        folder = tmp_path_factory.mktemp("host")
        self.table = folder / "table"
        made = make_executor(cluster.kubeconfig(folder / "kubeconfig"), self.table, 2)
        with started(made):
            yield made

    def command_workload(self, deed: str, folder: Path, **fields: Any) -> Workload:
        workload = super().command_workload(deed, folder, **fields)
        command, env = reporting(self.table, workload.key.attempt_id, workload.command)
        return replace(workload, command=command, env={**env, **workload.env})
