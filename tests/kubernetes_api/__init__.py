"""A Kubernetes cluster for tests: an API server that speaks real HTTP, and a kubelet that runs pods as local processes.

``with FakeCluster() as cluster:`` and give ``cluster.kubeconfig(path)`` to a client. The semantics of the API are those
of the real server: ``tests/integration/kubernetes/test_fake_api_semantics.py`` runs on both. What the fake leaves out:
pods are never restarted (it is for ``restartPolicy: Never``), volumes and images are names only, probes, services and
other kinds of objects do not exist, and of namespaces there is no more than a test needs.
"""

from tests.kubernetes_api.cluster import FakeCluster

__all__ = ["FakeCluster"]
