"""``[kubernetes_executor] pod_mutation_hook``: a function of the operator's that sees every pod last of all."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from executors.errors import ExecutorConfigError
from executors.kubernetes.building.normalising import normalise, to_model
from executors.kubernetes.errors import PodConfigError
from executors.kubernetes.options import KubernetesOptions

Hook = Callable[[Any], Any]
"""Takes a ``kubernetes.client.V1Pod``; changes it in place, or returns another one."""
_WHERE = "pod_mutation_hook"


def load_hook(options: KubernetesOptions) -> Hook | None:
    """Import the configured hook. Raises :class:`ExecutorConfigError` where there is no such function."""
    path = options.pod_mutation_hook
    if path is None:
        return None
    wrong = f"{options.name}: option {_WHERE} = {path!r}"
    module, _, name = path.rpartition(".")
    if not module:
        raise ExecutorConfigError(f"{wrong} is no module.function")
    try:
        hook = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise ExecutorConfigError(f"{wrong} cannot be imported: {_told(error)}") from None
    if not callable(hook):
        raise ExecutorConfigError(f"{wrong} is no function")
    checked: Hook = hook
    return checked


def mutate(pod: dict[str, Any], hook: Hook) -> dict[str, Any]:
    """What the hook makes of a manifest. Raises :class:`PodConfigError` for whatever the hook raises or returns."""
    model = to_model(pod, f"pod for the {_WHERE}")
    try:
        returned = hook(model)
    except (Exception, SystemExit) as error:
        raise PodConfigError(f"{_WHERE} raised {_told(error)}") from None
    changed = model if returned is None else returned
    if not isinstance(changed, type(model)):
        raise PodConfigError(f"{_WHERE} returned {type(changed).__name__}; expected a V1Pod, or None")
    return normalise(changed.to_dict(), _WHERE)


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
