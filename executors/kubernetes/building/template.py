"""What a pod is built on: a YAML file of the scheduler's host, else the pod that is shipped beside this module."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from executors.kubernetes.building.merging import BASE
from executors.kubernetes.building.normalising import normalise
from executors.kubernetes.errors import PodConfigError
from executors.kubernetes.options import KubernetesOptions

LARGEST = 1_000_000
"""Bytes of a template file; the API server takes no object above 1.5 MB."""
DEFAULT = Path(__file__).with_name("default_pod.yaml")
_KEPT = 100
_Version = tuple[int, int, int]  # time of change, size, inode
_cache: dict[Path, tuple[_Version, bytes]] = {}


def load_template(path: str | None, options: KubernetesOptions) -> dict[str, Any]:
    """A new copy of the template, normalised: ``path``, else the configured one, else the shipped one.

    :param path: ``executor_config["pod_template_file"]``. It comes from a DAG's author and names a file of this host,
        where authors have no business: only the configured template and what lies below its folder is read. A
        relative path starts in that folder.

    A file is read again once it has changed. Raises :class:`PodConfigError` that names file and field.
    """
    file = _chosen(path, options)
    kept = _cache.get(file)
    try:
        if kept is None or kept[0] != _version(os.stat(file)):
            version, data = _read(file)
            kept = version, msgspec.json.encode(parse_template(data, str(file)))
            _keep(file, kept)
    except OSError as error:
        raise PodConfigError(f"pod_template_file {file}: {error.strerror}") from None
    template: dict[str, Any] = msgspec.json.decode(kept[1])
    return template


def parse_template(data: bytes, where: str) -> dict[str, Any]:
    """The pod in a YAML file, normalised and checked. Raises :class:`PodConfigError`."""
    where = f"pod_template_file {where}"
    pod = normalise(_parsed(data, where), where)
    if pod.get("kind", "Pod") != "Pod" or pod.get("apiVersion", "v1") != "v1":
        raise PodConfigError(f"{where}: kind: expected apiVersion v1 and kind Pod")
    containers = pod.get("spec", {}).get("containers")
    if not containers:
        raise PodConfigError(f"{where}: spec.containers: there is none; the first one, {BASE!r}, runs the task")
    if containers[0].get("name") != BASE:
        raise PodConfigError(f"{where}: spec.containers[0].name: the first container runs the task: call it {BASE!r}")
    return pod


def _version(status: os.stat_result) -> _Version:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(file: Path) -> tuple[_Version, bytes]:
    """Does not wait for the writer of a FIFO. Raises :class:`OSError`."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PodConfigError(f"pod_template_file {file}: it is no regular file")
        with open(descriptor, "rb", closefd=False) as opened:
            return _version(status), opened.read(LARGEST + 1)
    finally:
        os.close(descriptor)


def _parsed(data: bytes, where: str) -> object:
    import yaml

    if len(data) > LARGEST:
        raise PodConfigError(f"{where}: it is larger than {LARGEST} bytes")
    try:
        return yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PodConfigError(f"{where}: {place}{error.problem or 'it is no YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PodConfigError(f"{where}: it is no YAML ({type(error).__name__})") from None


def _chosen(path: str | None, options: KubernetesOptions) -> Path:
    configured = Path(options.pod_template_file).expanduser().absolute() if options.pod_template_file else None
    if path is None:
        return configured or DEFAULT
    if configured is None:
        raise PodConfigError(
            "executor_config: pod_template_file: no folder of templates is open to tasks; the option "
            "pod_template_file of the executor names a template, and with it its folder"
        )
    folder = configured.parent.resolve()
    if not path.isprintable() or len(path) > 1000:
        raise PodConfigError("executor_config: pod_template_file: it is no path")
    try:
        asked = Path(os.path.abspath(folder / path))
        found = asked.resolve()
    except (OSError, ValueError, RuntimeError):
        raise PodConfigError("executor_config: pod_template_file: it is no path") from None
    if found != configured.resolve() and not found.is_relative_to(folder):
        raise PodConfigError(
            f"executor_config: pod_template_file: {path[:200]!r} is outside of {folder}, the folder of the "
            f"executor's own template"
        )
    return found


def _keep(file: Path, kept: tuple[_Version, bytes]) -> None:
    """Executors of several clusters share them, each in its own thread: no step here needs a lock."""
    if len(_cache) >= _KEPT:
        _cache.clear()
    _cache[file] = kept
