"""Everything that is wrong with a configuration at once, Airflow's names for our options included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from runtime.config.options import SECTIONS
from runtime.config.renamed import GONE, RENAMED, SECTIONS_GONE
from runtime.config.settings import check_option, did_you_mean, free_sections, home_and_file
from runtime.config.sources import Sources, read_file
from runtime.core.errors import ConfigError

SUFFIXES = ("", "_cmd", "_secret")


@dataclass(frozen=True)
class Finding:
    """One thing to change; ``source`` says where it stands."""

    section: str
    option: str
    source: str
    problem: str


def lint(known_sections: set[str], home: Path | None = None, env: Mapping[str, str] | None = None) -> list[Finding]:
    """In the order of sections and options. ``known_sections``: those of executors. Raises :class:`ConfigError` where
    the file is no INI file.
    """
    env = os.environ if env is None else env
    folder, path = home_and_file(home, env)
    sources = read_file(path, {name: value for name, value in env.items() if name.startswith("HYBRID__")})
    found = [*_values(sources, folder), *_unknown_options(sources), *_unknown_sections(sources, known_sections)]
    return sorted(found, key=lambda one: (one.section, one.option))


def _values(sources: Sources, home: Path) -> Iterator[Finding]:
    for section, cls in SECTIONS.items():
        for declared in fields(cls):
            try:
                check_option(sources, section, declared, home)
            except ConfigError as error:
                yield Finding(section, declared.name, _place(sources, section, declared.name), str(error))


def _unknown_options(sources: Sources) -> Iterator[Finding]:
    for section, cls in SECTIONS.items():
        known = [declared.name for declared in fields(cls)]
        for key, source in _written(sources, section).items():
            if any(key.removesuffix(suffix) in known for suffix in SUFFIXES):
                continue
            yield Finding(section, key, source, _advice(section, key, known))


def _unknown_sections(sources: Sources, known: set[str]) -> Iterator[Finding]:
    for section in free_sections(sources):
        base = section.partition(":")[0]
        if base in known:
            continue
        written = _written(sources, section)
        moved = {key for key in written if (base, key) in RENAMED or (base, key) in GONE}
        for key in sorted(moved):
            yield Finding(section, key, written[key], _advice(base, key, []))
        if base in SECTIONS_GONE:
            yield Finding(section, "", _section_place(sources, section), SECTIONS_GONE[base])
        elif not moved or set(written) - moved:
            hint = did_you_mean(base, [*SECTIONS, *known]) or "; no option of ours and no configured executor reads it"
            yield Finding(section, "", _section_place(sources, section), f"no section [{section}]{hint}")


def _advice(section: str, key: str, known: list[str]) -> str:
    if (section, key) in RENAMED:
        new_section, new_key = RENAMED[section, key]
        return f"Airflow's option has another name here: [{new_section}] {new_key}"
    if (section, key) in GONE:
        return GONE[section, key]
    elsewhere = [name for name, cls in SECTIONS.items() if key in {declared.name for declared in fields(cls)}]
    if elsewhere:
        return f"no option {key!r} in [{section}]; it belongs to [{elsewhere[0]}]"
    return f"no option {key!r} in [{section}]{did_you_mean(key, known) or '; nothing reads it'}"


def _written(sources: Sources, section: str) -> dict[str, str]:
    """Option → where it stands."""
    in_file = {key: sources.place(section, key) for key in sources.file.get(section, {})}
    return in_file | sources.env_keys(section)


def _place(sources: Sources, section: str, key: str) -> str:
    written = _written(sources, section)
    return next((written[key + suffix] for suffix in SUFFIXES if key + suffix in written), "default")


def _section_place(sources: Sources, section: str) -> str:
    return str(sources.path) if section in sources.file else "environment"
