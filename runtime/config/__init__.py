"""Settings: read once at the start of a process, frozen, typed, grouped by section, passed down.

Nothing else reads the environment or ``hybrid.cfg``. Every option is declared once, in :mod:`runtime.config.options`,
with its type, its default and the reason for it.
"""

from runtime.config.settings import Item, Settings, load

__all__ = ["Item", "Settings", "load"]
