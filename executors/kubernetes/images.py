"""The images of the pods: which are configured, whether their tags stay what they are, which cannot be pulled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from executors.findings import Finding, Severity
from executors.kubernetes.building.template import load_template
from executors.kubernetes.errors import PodConfigError
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.statuses import line, part

UNPULLABLE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError", "ErrImageNeverPull"}
)
"""Why a container waits that has no image."""
MOST_TEMPLATES = 50
"""Of a folder that are looked into."""


def configured(options: KubernetesOptions) -> tuple[dict[str, str], list[str]]:
    """Image → where it is configured; and what is wrong with the templates, in one line each.

    Templates beside the configured one count too, for tasks may name them; files there that are no pods do not.
    """
    if options.image:
        problem = _problem(options)
        return {options.image: "worker_container_repository"}, [problem] if problem else []
    found: dict[str, str] = {}
    for path in _templates(options):
        try:
            image = _base_image(load_template(path, options))
        except PodConfigError as error:
            if path is None:
                return {}, [str(error)]
            continue
        if image:
            found.setdefault(image, path or options.pod_template_file or "the built-in template")
        elif path is None:
            return found, ["pods have no image: set worker_container_repository, or image in pod_template_file"]
    return found, []


def unstable(images: Mapping[str, str]) -> Iterator[Finding]:
    """Whose tag may be another image tomorrow: then attempts of one run have not run the same code."""
    for image, where in images.items():
        tag = _tag(image)
        if tag in ("", "latest"):
            told = "has no tag, which means latest" if not tag else "is tagged latest"
            text = f"image {image} ({where}) {told}: pods of one run may run different code; name a version or a digest"
            yield Finding(Severity.WARNING, "image", text)


def unpullable(pods: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """A finding for each image that pods wait for in vain."""
    waiting: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pod in pods:
        namespace = str(part(pod, "metadata").get("namespace", ""))
        for image, why in _waiting(pod):
            waiting[namespace, image].append(why)
    for (namespace, image), reasons in sorted(waiting.items()):
        text = (
            f"image {image} cannot be pulled in namespace {namespace}: {len(reasons)} pods wait ({reasons[-1]}); check "
            "its name and tag, and imagePullSecrets in pod_template_file"
        )
        yield Finding(Severity.ERROR, "image", text)


def _waiting(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in part(pod, "status").get(kind) or ():
            state = part(part(container, "state"), "waiting")
            if state.get("reason") in UNPULLABLE:
                message = state.get("message")
                yield str(container.get("image", "")), line(f"{state['reason']}{f': {message}' if message else ''}")


def _problem(options: KubernetesOptions) -> str | None:
    try:
        load_template(None, options)
    except PodConfigError as error:
        return str(error)
    return None


def _templates(options: KubernetesOptions) -> Iterator[str | None]:
    """The configured one, as ``None``, then those beside it."""
    yield None
    if options.pod_template_file:
        own = Path(options.pod_template_file).expanduser().resolve()
        beside = (path for path in sorted(own.parent.glob("*.y*ml")) if path.resolve() != own)
        yield from map(str, islice(beside, MOST_TEMPLATES))


def _base_image(pod: Mapping[str, Any]) -> str:
    """Of the container that runs the attempt: the first."""
    return str(pod["spec"]["containers"][0].get("image") or "")


def _tag(image: str) -> str:
    """Empty where there is none; a digest is as good as any."""
    name = image.rpartition("/")[2]
    return name.partition("@")[2] or name.partition(":")[2]
