"""A workload's pod: template → generated part → ``executor_config`` → mutation hook → what no one may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from executors.kubernetes.building.merging import BASE, Json, merge
from executors.kubernetes.building.mutating import Hook, mutate
from executors.kubernetes.building.naming import DONE, annotations_of, labels, pod_name
from executors.kubernetes.building.normalising import normalise
from executors.kubernetes.building.template import load_template
from executors.kubernetes.errors import PodConfigError
from executors.kubernetes.options import KubernetesOptions
from executors.workload import Workload

CONFIG_KEYS = ("pod_override", "pod_template_file")
"""Of ``executor_config``."""
URL_VARIABLE = "HYBRID__CORE__EXECUTION_API_SERVER_URL"
CONTAINER_VARIABLE = "HYBRID_IS_EXECUTOR_CONTAINER"


def build_pod(workload: Workload, options: KubernetesOptions, *, hook: Hook | None = None) -> dict[str, Any]:
    """The manifest to create. Deterministic; reads the template's file where that has changed, and nothing else.

    Neither override nor hook changes what the executor lives on: the pod's name, its own labels and annotations,
    ``restartPolicy: Never``, command, arguments and ticket of the container ``base``; the namespace only within the
    watched ones. The ticket is put in last: no hook and no error text ever sees it.

    Raises :class:`PodConfigError`, one line, where template, ``executor_config`` or hook is wrong.
    """
    override, file = _config(workload.executor_config)
    pod = load_template(file, options)
    launch = _launch(pod["spec"]["containers"][0], workload.command)
    _generate(pod, options)
    if override is not None:
        pod = merge(pod, override, CONFIG_KEYS[0])
        _check_namespace(pod, options, CONFIG_KEYS[0])
    if hook is not None:
        _settle(pod, workload, options, launch)
        pod = mutate(pod, hook)
        _check_namespace(pod, options, "pod_mutation_hook")
    base = _settle(pod, workload, options, launch)
    base["env"] = _own_environment(workload, base.get("env", []))
    if not base.get("image"):
        raise PodConfigError(
            f"container {BASE!r} has no image: set worker_container_repository, or image in pod_template_file"
        )
    return pod


def _config(config: Mapping[str, Any]) -> tuple[Json | None, str | None]:
    """``pod_override``, normalised, and ``pod_template_file``."""
    if not config:
        return None, None
    if unknown := [key for key in config if key not in CONFIG_KEYS]:
        known = " and ".join(CONFIG_KEYS)
        raise PodConfigError(
            f"executor_config: KubernetesExecutor knows {known}, not {', '.join(map(repr, unknown))[:200]}"
        )
    override, file = (config.get(key) for key in CONFIG_KEYS)
    if file is not None and not isinstance(file, str):
        raise PodConfigError("executor_config: pod_template_file: expected the path of a file")
    return (None if override is None else _override(override)), file or None


def _override(value: object) -> Json:
    override = normalise(value, CONFIG_KEYS[0])
    if override.get("kind", "Pod") != "Pod":
        raise PodConfigError(f"{CONFIG_KEYS[0]}: kind: expected Pod")
    if override.get("metadata", {}).get("finalizers"):
        raise PodConfigError(f"{CONFIG_KEYS[0]}: metadata.finalizers: the executor could not delete such a pod")
    return override


def _launch(base: Json, command: Sequence[str]) -> Json:
    """The image's entry point is not asked. A command of the template's is a wrapper: it is given ours as arguments."""
    wrapper = base.get("command")
    return {"command": wrapper, "args": list(command)} if wrapper else {"command": list(command)}


def _generate(pod: Json, options: KubernetesOptions) -> None:
    """What an override may change, and a hook."""
    pod["apiVersion"], pod["kind"] = "v1", "Pod"
    pod.setdefault("metadata", {})["namespace"] = options.namespace
    base = pod["spec"]["containers"][0]
    if options.image:
        base["image"] = options.image
    env = base.setdefault("env", [])
    if options.task_api_url and not any(variable.get("name") == URL_VARIABLE for variable in env):
        env.append({"name": URL_VARIABLE, "value": options.task_api_url})


def _settle(pod: Json, workload: Workload, options: KubernetesOptions, launch: Json) -> Json:
    """Put everything back that must be as it is; returns the container ``base``, which comes first."""
    key = workload.key
    metadata = pod["metadata"] = dict(pod.get("metadata", {}))
    metadata["name"] = pod_name(key)
    metadata["labels"] = {**metadata.get("labels", {}), **labels(key, options)}
    metadata["annotations"] = {**metadata.get("annotations", {}), **annotations_of(key)}
    metadata.pop("generateName", None)
    metadata["labels"].pop(DONE, None)
    pod.pop("status", None)
    spec = pod.setdefault("spec", {})
    spec["restartPolicy"] = "Never"
    containers: list[Json] = spec.get("containers", [])
    base = next((container for container in containers if container.get("name") == BASE), None)
    if base is None:
        raise PodConfigError(f"pod_mutation_hook: spec.containers: the container {BASE!r} is gone")
    base.pop("args", None)
    base.update(launch)
    spec["containers"] = [base, *(container for container in containers if container is not base)]
    return base


def _own_environment(workload: Workload, env: Sequence[Json]) -> list[Json]:
    own = {**workload.env, CONTAINER_VARIABLE: "True"}
    kept = [variable for variable in env if variable.get("name") not in own]
    return [*({"name": name, "value": value} for name, value in own.items()), *kept]


def _check_namespace(pod: Json, options: KubernetesOptions, where: str) -> None:
    """A pod in a namespace that nobody watches would never be seen to end."""
    namespace = pod.setdefault("metadata", {}).setdefault("namespace", options.namespace)
    if namespace == options.namespace or namespace in options.namespaces or options.namespaces == ("",):
        return
    watched = f"those of multi_namespace_mode_namespace_list: {', '.join(options.namespaces)}"
    allowed = watched if len(options.namespaces) > 1 else f"{options.namespace}; multi_namespace_mode allows others"
    raise PodConfigError(f"{where}: metadata.namespace: {namespace[:80]!r} is not allowed, only {allowed}")
