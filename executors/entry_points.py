"""Executors that installed distributions offer, by entry points of the group ``hybrid.executors``.

Looked at only where ``[core] executor`` names a bare target that is not built in: reading the metadata of everything
that is installed takes some tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

GROUP = "hybrid.executors"


def installed_executors() -> Mapping[str, tuple[str, ...]]:
    """Entry point's name → ``dotted.module.Class``, of each distribution that has one of this name; sorted.

    Imports none of them.
    """
    from importlib.metadata import entry_points

    found: dict[str, set[str]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, set()).add(point.value.split("[")[0].strip().replace(":", "."))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}
