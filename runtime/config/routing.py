"""The router that the settings describe: for the scheduler, and for commands that tell what it would do."""

from __future__ import annotations

from collections.abc import Sequence

from executors.names import COMPOSITES, ExecutorName, composites, lookup
from runtime.config.settings import Settings
from runtime.core.routes import Condition, Rule, parse_fallback, parse_routes
from runtime.core.routing import Router, checked


def make_router(settings: Settings, names: Sequence[ExecutorName]) -> Router:
    """:param names: ``[core] executor``, parsed. Raises :class:`~runtime.core.errors.ConfigError`."""

    def find(text: str) -> str:
        return lookup(names, text).name

    core = settings.core
    return Router(
        default=names[0].name,
        lookup=find,
        missing=core.missing_executor,
        rules=(*checked(parse_routes(core.executor_routes), find), *_composite_rules(settings)),
        fallback=parse_fallback(core.executor_fallback),
    )


def _composite_rules(settings: Settings) -> list[Rule]:
    """After the user's own rules, for what those leave open."""
    rules = []
    for name in composites(settings.core.executor):
        composite = COMPOSITES[name]
        queue = settings.executor_options(composite.conf_section, None).get("kubernetes_queue", "kubernetes")
        rules.append(Rule((Condition("queue", (queue,)),), composite.executors[1:]))
    return rules
