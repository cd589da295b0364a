"""The DAGs folder: which files in it may hold DAGs, and which have changed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

IGNORE_FILES = (".hybridignore", ".airflowignore")
Stamp: TypeAlias = tuple[int, int, int]
"""Modification time (ns), size, inode: differs when a file was changed or replaced."""


def stamp(path: Path | str) -> Stamp | None:
    """``None`` where there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def list_files(dags_folder: Path) -> dict[str, Stamp]:
    """Python files below the folder that no ignore file excludes, by relative path, sorted.

    Hidden and ``__pycache__`` folders are left out; links are followed, each folder once. Raises :class:`OSError` where
    the folder itself cannot be read: it is not the same as an empty one.
    """
    found = dict(_walk(dags_folder, "", (), set()))
    return dict(sorted(found.items()))


def may_hold_dags(path: Path) -> bool:
    """Whether the file says "dag" anywhere; what does not is not executed. True also where it cannot be read."""
    try:
        return b"dag" in path.read_bytes().lower()
    except OSError:
        return True


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line of an ignore file, in the syntax of ``.gitignore``."""

    base: str
    """Folder of the ignore file, relative, with a slash at its end; empty for the top."""
    pattern: re.Pattern[str]
    folders_only: bool
    negated: bool

    def matches(self, rel_path: str, is_folder: bool) -> bool:
        if not rel_path.startswith(self.base) or (self.folders_only and not is_folder):
            return False
        return self.pattern.fullmatch(rel_path[len(self.base) :]) is not None


def read_rules(text: str, base: str) -> list[IgnoreRule]:
    """The rules of an ignore file's text; comments and empty lines are skipped."""
    rules = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        negated, line = line.startswith("!"), line.removeprefix("!")
        folders_only, line = line.endswith("/"), line.rstrip("/")
        anchored, line = "/" in line, line.removeprefix("/")
        prefix = "" if anchored else "(?:.*/)?"
        rules.append(IgnoreRule(base, re.compile(prefix + _regex(line)), folders_only, negated))
    return rules


def ignored(rules: Sequence[IgnoreRule], rel_path: str, is_folder: bool) -> bool:
    """Whether the last rule that matches excludes the path."""
    for rule in reversed(rules):
        if rule.matches(rel_path, is_folder):
            return not rule.negated
    return False


def _regex(glob: str) -> str:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        parts.get(piece) or (piece if piece.startswith("[") and len(piece) > 1 else re.escape(piece))
        for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|.", glob)
    )


def _walk(
    folder: Path, base: str, rules: tuple[IgnoreRule, ...], seen: set[tuple[int, int]]
) -> Iterator[tuple[str, Stamp]]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for name in IGNORE_FILES:
        if any(entry.name == name for entry in listed):
            rules += tuple(read_rules((folder / name).read_text("utf-8", "replace"), base))
    for entry in listed:
        yield from _visit(entry, f"{base}{entry.name}", rules, seen)


def _visit(
    entry: os.DirEntry[str], rel_path: str, rules: tuple[IgnoreRule, ...], seen: set[tuple[int, int]]
) -> Iterator[tuple[str, Stamp]]:
    try:
        is_folder = entry.is_dir()
        wanted = is_folder or entry.name.endswith(".py")
        if not wanted or entry.name.startswith(".") or entry.name == "__pycache__":
            return
        if not _is_text(rel_path) or ignored(rules, rel_path, is_folder):
            return
        found = entry.stat()
    except OSError:  # removed since, a broken link, or not ours to read
        return
    if not is_folder:
        yield rel_path, (found.st_mtime_ns, found.st_size, found.st_ino)
    elif (found.st_dev, found.st_ino) not in seen:
        seen.add((found.st_dev, found.st_ino))
        try:
            yield from _walk(Path(entry.path), f"{rel_path}/", rules, seen)
        except OSError:
            return


def _is_text(name: str) -> bool:
    """Whether the name is proper UTF-8, as the database and JSON need it."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
