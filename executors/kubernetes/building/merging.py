"""One pod over another, as Airflow's users expect of ``pod_override`` over the template.

==============================================================  =============================================
labels, annotations, security contexts                          joined by key; the later one wins
the first container, and any that is called ``base``            merged into the container ``base``
further containers, init containers                             merged by name, else appended
volumes, environment, mounts, ports, tolerations, pull secrets  joined; same name, path or port: the later one
everything else (resources, nodeSelector, affinity, image …)    the later one, whole
==============================================================  =============================================

Security contexts are joined so that an override of, say, ``runAsUser`` does not silently drop the template's
restrictions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from executors.kubernetes.errors import PodConfigError

BASE = "base"
"""The container of the task."""
Json = dict[str, Any]


def _field(name: str) -> Callable[[Json], Hashable]:
    return lambda item: item.get(name)


def _port(item: Json) -> Hashable:
    return item.get("containerPort"), item.get("protocol", "TCP")


_OF_SPEC: Mapping[str, Callable[[Json], Hashable] | None] = {
    "volumes": _field("name"),
    "tolerations": None,
    "imagePullSecrets": _field("name"),
    "hostAliases": _field("ip"),
    "topologySpreadConstraints": None,
    "resourceClaims": _field("name"),
    "schedulingGates": _field("name"),
}
"""Lists of a pod that are joined, and what makes two items the same one; ``None``: being equal."""
_OF_CONTAINER: Mapping[str, Callable[[Json], Hashable] | None] = {
    "env": _field("name"),
    "envFrom": None,
    "ports": _port,
    "volumeMounts": _field("mountPath"),
    "volumeDevices": _field("devicePath"),
}
_MAPPINGS = ("labels", "annotations", "securityContext", "capabilities")


def merge(base: Json, over: Json, where: str) -> Json:
    """``over`` laid over ``base``; both are normalised, neither is changed, parts of both are in the result.

    Raises :class:`PodConfigError`, with ``where`` before it, where it is not clear which container is meant.
    """
    merged = {**base, **over}
    if "metadata" in base and "metadata" in over:
        merged["metadata"] = _overlay(base["metadata"], over["metadata"], {})
    if "spec" in base and "spec" in over:
        merged["spec"] = _merge_spec(base["spec"], over["spec"], where)
    return merged


def _merge_spec(base: Json, over: Json, where: str) -> Json:
    merged = _overlay(base, over, _OF_SPEC)
    first, *others = base["containers"]
    merged["containers"] = _by_name([first, *others], _named(over.get("containers", []), where))
    if "initContainers" in over:
        merged["initContainers"] = _by_name(base.get("initContainers", []), over["initContainers"])
    return merged


def _named(containers: list[Json], where: str) -> list[Json]:
    """An override's containers, where the first one may have no name: it is the task's."""
    if not containers or any(container.get("name") == BASE for container in containers):
        return containers
    first, *others = containers
    if "name" in first:
        raise PodConfigError(
            f"{where}: spec.containers[0] is called {first['name'][:80]!r}, but the first container is the task's, "
            f"{BASE!r}; put {{'name': {BASE!r}}} before it to add one"
        )
    return [{**first, "name": BASE}, *others]


def _by_name(base: list[Json], over: list[Json]) -> list[Json]:
    merged = list(base)
    places = {container.get("name"): place for place, container in enumerate(base)}
    for container in over:
        place = places.get(container.get("name"))
        if place is None:
            places[container.get("name")] = len(merged)
            merged.append(container)
        else:
            merged[place] = _overlay(merged[place], container, _OF_CONTAINER)
    return merged


def _overlay(base: Json, over: Json, lists: Mapping[str, Callable[[Json], Hashable] | None]) -> Json:
    merged = {**base, **over}
    for name in over.keys() & base.keys():
        if name in lists:
            merged[name] = _joined(base[name], over[name], lists[name])
        elif name in _MAPPINGS:
            merged[name] = _overlay(base[name], over[name], {})
    return merged


def _joined(base: list[Json], over: list[Json], identity: Callable[[Json], Hashable] | None) -> list[Json]:
    if identity is None:
        return [*base, *(item for item in over if item not in base)]
    found = {identity(item): item for item in base}
    found.update((identity(item), item) for item in over)
    return list(found.values())
