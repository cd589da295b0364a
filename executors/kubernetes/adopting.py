"""Which pod is an attempt's: by the name that it must have, and the exact ids in its annotations."""

from __future__ import annotations

from collections.abc import Mapping

from executors.kubernetes.building.naming import key_of, pod_name
from executors.kubernetes.logs import places
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.viewing import Place, Pod
from executors.workload import TaskInstanceRef


def is_foreign(ref: TaskInstanceRef) -> bool:
    """Whether its launch is known under an id that this executor never gave it."""
    known = ref.external_executor_id
    return known is not None and known != "" and known.partition("/")[2] != pod_name(ref.key)


def found_by(ref: TaskInstanceRef, options: KubernetesOptions, pods: Mapping[Place, Pod]) -> Pod | None:
    """The attempt's among ``pods``."""
    candidates = [pods.get(place) for place in places(options, ref)]
    if options.namespaces == ("",) and not any(candidates):
        name = pod_name(ref.key)
        candidates += [pod for place, pod in pods.items() if place[1] == name]
    return next((pod for pod in candidates if pod is not None and key_of(pod) == ref.key), None)
