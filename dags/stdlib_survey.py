"""Survey the standard library's own sources: fan out over its packages, join, write a report and a chart.

The four biggest packages go to the executor ``heavy``, which has two slots; everything else runs on the default one.
``hybrid dags trigger stdlib_survey --conf '{"folder": "/somewhere"}'`` says where the report goes.
"""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
import time
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TypedDict

from runtime import dag, get_current_context, task

LIGHT, HEAVY = 12, 4
"""Tasks per executor."""
SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload"}
"""The library is meant, not its tests and not what was installed beside it."""
SHOWN = 20
WIDTH, ROW, LABEL, TOP = 860, 26, 150, 84


class Package(TypedDict):
    """What one package amounts to; ``seconds`` is the time that ``ast.parse`` took."""

    name: str
    files: int
    lines: int
    functions: int
    classes: int
    seconds: float
    heavy: bool


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"folder": "~/hybrid/reports/stdlib_survey"},
    tags=["demo"],
)
def stdlib_survey() -> None:
    """plan → 12 light and 4 heavy surveys → report."""
    groups = plan()
    surveys = [survey.override(task_id=f"survey_{n:02}")(groups, n) for n in range(LIGHT)]
    surveys += [
        survey.override(task_id=f"survey_heavy_{n}", executor="heavy", priority_weight=10)(groups, LIGHT + n)
        for n in range(HEAVY)
    ]
    report(surveys)


@task
def plan() -> list[list[str]]:
    """Spread the packages over the tasks: the biggest ones alone, the others so that the groups weigh the same."""
    root = Path(sysconfig.get_path("stdlib"))
    sizes = {name: sum(file.stat().st_size for file in sources(root, name)) for name in packages(root)}
    ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
    light: list[list[str]] = [[] for _ in range(LIGHT)]
    weights = [0] * LIGHT
    for name in ordered[HEAVY:]:
        lightest = weights.index(min(weights))
        light[lightest].append(name)
        weights[lightest] += sizes[name]
    print(f"{len(sizes)} packages with {sum(sizes.values()) / 1e6:.1f} MB of source below {root}")
    return light + [[name] for name in ordered[:HEAVY]]


@task
def survey(groups: list[list[str]], number: int) -> list[Package]:
    """Parse every file of one group."""
    root = Path(sysconfig.get_path("stdlib"))
    return [measure(root, name, heavy=number >= LIGHT) for name in groups[number]]


@task
def report(surveys: list[list[Package]]) -> str:
    """Join the groups and write ``report.md`` and ``chart.svg``; return where."""
    found = sorted((package for group in surveys for package in group), key=lambda p: (-p["lines"], p["name"]))
    folder = Path(get_current_context()["params"]["folder"]).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chart.svg").write_text(chart(found[:SHOWN]), encoding="utf-8")
    (folder / "report.md").write_text(markdown(found), encoding="utf-8")
    print(f"report: {folder / 'report.md'}")
    return str(folder / "report.md")


def packages(root: Path) -> list[str]:
    """Top-level packages and modules; a single-file module is named like its file."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name not in SKIPPED
            and (entry.name.endswith(".py") or (entry.is_dir() and any(Path(entry.path).glob("*.py"))))
        )


def sources(root: Path, name: str) -> list[Path]:
    """The Python files of one package."""
    if name.endswith(".py"):
        return [root / name]
    return sorted(
        file for file in (root / name).rglob("*.py") if not SKIPPED.intersection(file.relative_to(root).parts)
    )


def measure(root: Path, name: str, *, heavy: bool) -> Package:
    """Parse a package's files; one that is no valid Python (the library has some on purpose) counts by its lines."""
    package = Package(name=name.removesuffix(".py"), files=0, lines=0, functions=0, classes=0, seconds=0.0, heavy=heavy)
    for file in sources(root, name):
        source = file.read_bytes()
        package["files"] += 1
        package["lines"] += source.count(b"\n")
        started = time.perf_counter()
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            print(f"{file}: {error}")
            continue
        package["seconds"] += time.perf_counter() - started
        nodes = list(ast.walk(tree))
        package["functions"] += sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
        package["classes"] += sum(isinstance(node, ast.ClassDef) for node in nodes)
    print(f"{package['name']}: {package['lines']:,} lines in {package['files']} files")
    return package


def markdown(found: list[Package]) -> str:
    """The report: totals, the chart, and a table of the biggest packages."""
    files, lines, functions, classes = (
        sum(package[key] for package in found) for key in ("files", "lines", "functions", "classes")
    )
    seconds = sum(package["seconds"] for package in found)
    rows = "\n".join(
        f"| {p['name']} | {p['files']:,} | {p['lines']:,} | {p['functions']:,} | {p['classes']:,} "
        f"| {p['seconds'] * 1000:,.0f} | {'heavy' if p['heavy'] else 'default'} |"
        for p in found[:SHOWN]
    )
    return f"""# The standard library of Python {platform.python_version()}

{len(found)} packages and modules, {files:,} files, {lines:,} lines, {functions:,} functions, {classes:,} classes.
`ast.parse` took {seconds:.1f} s over all of them: {lines / seconds if seconds else 0:,.0f} lines per second.

![Lines of code by package](chart.svg)

| Package | Files | Lines | Functions | Classes | Parse, ms | Executor |
|---|--:|--:|--:|--:|--:|---|
{rows}

The {min(SHOWN, len(found))} biggest of {len(found)}, tests left out.
"""


def chart(found: list[Package]) -> str:
    """Horizontal bars, one per package; the colour says which executor surveyed it. Light and dark by the viewer."""
    longest = max((package["lines"] for package in found), default=1) or 1
    bars = "\n".join(_bar(number, package, longest) for number, package in enumerate(found))
    height = TOP + ROW * len(found) + 24
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img"
  aria-label="Lines of code of the {len(found)} biggest packages of the standard library">
<style>
  svg {{ background: #fff; font: 13px system-ui, sans-serif; }}
  text {{ fill: #334155; }} .title {{ font-size: 18px; font-weight: 600; fill: #0f172a; }}
  .name {{ text-anchor: end; }} .value {{ font-size: 12px; fill: #64748b; font-variant-numeric: tabular-nums; }}
  .default {{ fill: #3b82f6; }} .heavy {{ fill: #f59e0b; }}
  @media (prefers-color-scheme: dark) {{
    svg {{ background: #0f172a; }} text {{ fill: #cbd5e1; }} .title {{ fill: #f8fafc; }} .value {{ fill: #94a3b8; }}
  }}
</style>
<text class="title" x="24" y="36">Lines of code in Python {escape(platform.python_version())}’s standard library</text>
<rect class="default" x="24" y="52" width="12" height="12" rx="3"/><text x="42" y="62.5">default executor</text>
<rect class="heavy" x="160" y="52" width="12" height="12" rx="3"/><text x="178" y="62.5">heavy</text>
{bars}
</svg>
"""


def _bar(number: int, package: Package, longest: int) -> str:
    y = TOP + ROW * number
    width = max(2.0, (WIDTH - LABEL - 220) * package["lines"] / longest)
    executor = "heavy" if package["heavy"] else "default"
    return (
        f'<text class="name" x="{LABEL - 10}" y="{y + 14}">{escape(package["name"])}</text>'
        f'<rect class="{executor}" x="{LABEL}" y="{y + 1}" width="{width:.1f}" height="{ROW - 8}" rx="4"/>'
        f'<text class="value" x="{LABEL + width + 8:.1f}" y="{y + 14}">'
        f"{package['lines']:,} lines · {package['functions']:,} functions</text>"
    )


stdlib_survey()
