"""``docs/kubernetes.md`` has every option that is read, with its default, and the rights of the Role."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from executors.kubernetes.building.normalising import normalise
from executors.kubernetes.options import read_options

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
ELSEWHERE = {"parallelism"}
"""Read by the registry."""


class Recording(dict[str, str]):
    """Remembers what was asked for."""

    def __init__(self, **options: str) -> None:
        super().__init__(options)
        self.asked: set[str] = set()

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def options_shown() -> dict[str, str]:
    """Option → default, as shown."""
    shown = {}
    for names, default, *_ in (line.removesuffix(" |").split(" |", 2) for line in table("Options")):
        found = re.findall(r"`(\w+)`", names)
        parts = [
            part.strip(" `") for part in (default.split(", ") if len(found) > 1 and default.strip() else [default])
        ]
        shown |= dict(zip(found, parts * (len(found) if len(parts) == 1 else 1), strict=True))
    return shown


def table(heading: str) -> list[str]:
    return [line[2:] for line in section(heading).splitlines() if line.startswith("| `")]


def test_options_of_the_page_are_those_that_are_read() -> None:
    options = Recording(multi_namespace_mode="True")
    read_options(options, "k8s", {})
    assert set(options_shown()) == options.asked | ELSEWHERE


@pytest.mark.parametrize(("name", "default"), [pair for pair in options_shown().items() if pair[1]])
def test_a_default_of_the_page_changes_nothing(name: str, default: str) -> None:
    if name not in ELSEWHERE:
        assert read_options({name: default}, "k8s", {}) == read_options({}, "k8s", {})


def test_the_rights_of_the_page_are_those_of_the_role() -> None:
    shown = {}
    for line in table("Rights"):
        resource, verbs = line.removesuffix(" |").split(" | ")
        shown[resource.strip("`")] = [verb.strip() for verb in verbs.split(",")]
    documents = yaml.safe_load_all((ROOT / "deploy/kind/manifests/access.yaml").read_text())
    (role,) = (document for document in documents if document["kind"] == "Role")
    assert shown == {rule["resources"][0]: rule["verbs"] for rule in role["rules"]}


def test_the_override_of_the_page_is_one() -> None:
    """Its fields are those of a pod."""
    (written,) = re.findall(r'"pod_override": (\{.*?\n\})\}\)\n', section("The pod"), re.DOTALL)
    assert normalise(yaml.safe_load(written), "pod_override")["spec"]["containers"][0]["name"] == "base"
