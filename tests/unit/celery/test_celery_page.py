"""``docs/celery.md`` has every option that is read, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from executors.celery.options import read_options

PAGE = (Path(__file__).parents[3] / "docs" / "celery.md").read_text(encoding="utf-8")
ELSEWHERE = {"parallelism", "worker_autoscale", "flower_host", "flower_port", "flower_url_prefix", "flower_basic_auth"}
"""Read by the registry, and by commands."""


class Recording(dict[str, str]):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(ssl_active="True", ssl_cacert="a", ssl_cert="b", ssl_key="c")
        self.asked: set[str] = set()

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)


def test_options_of_the_page_are_those_that_are_read():
    options = Recording()
    read_options(options, "east")
    table = PAGE[PAGE.index("## Options") : PAGE.index("## What differs")]
    shown = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert shown == options.asked | ELSEWHERE
