"""``hybrid dags show``: a picture of a DAG."""

from __future__ import annotations

import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.cli.command import UsageError, Verb, load_settings
from runtime.core.errors import HybridError

if TYPE_CHECKING:
    from runtime.cli.drawing.picture import Picture
    from runtime.config import Settings

FORMATS = ("dot", "mermaid", "svg")
SUFFIXES = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid", ".svg": "svg"}
WITH_GRAPHVIZ = (".png", ".pdf", ".jpg")
_SECONDS = 120.0


def _show(args: Namespace) -> int:
    suffix = Path(args.save).suffix.lower() if args.save else ""
    form = args.format or SUFFIXES.get(suffix, "dot")
    if args.save and not args.format and suffix not in (*SUFFIXES, *WITH_GRAPHVIZ):
        known = ", ".join((*SUFFIXES, *WITH_GRAPHVIZ))
        raise UsageError(f"{args.save}: say --format, or end the file's name in one of {known}")
    picture = _picture(load_settings(), args.dag_id)
    if suffix in WITH_GRAPHVIZ and not args.format:
        data = _by_graphviz(picture, suffix.removeprefix("."))
    else:
        data = _drawn(picture, form).encode() + b"\n"
    if args.save:
        _save(Path(args.save), data)
        print(f"{args.save} saved")
    else:
        print(data.decode(), end="")
    return 0


def _picture(settings: Settings, dag_id: str) -> Picture:
    from executors.names import parse_executors
    from runtime.cli.drawing.picture import picture_of
    from runtime.config.routing import make_router
    from runtime.db.engine import open_database
    from runtime.db.queries import dag_spec

    router = make_router(settings, parse_executors(settings.core.executor))
    database = open_database(settings)
    try:
        with database.read() as connection:
            spec = dag_spec(connection, dag_id)
    finally:
        database.close()
    chains = {task.task_id: router.route(spec, task).chain for task in spec.tasks}
    return picture_of(spec, {name: " → ".join(chain) for name, chain in chains.items()})


def _drawn(picture: Picture, form: str) -> str:
    if form == "svg":
        from runtime.cli.drawing.svg import to_svg

        return to_svg(picture)
    if form == "mermaid":
        from runtime.cli.drawing.mermaid import to_mermaid

        return to_mermaid(picture)
    from runtime.cli.drawing.dot import to_dot

    return to_dot(picture)


def _by_graphviz(picture: Picture, form: str) -> bytes:
    """Raises :class:`HybridError` where Graphviz is not there, or fails."""
    program = shutil.which("dot")
    if program is None:
        raise HybridError(f"a .{form} file needs Graphviz, and there is no `dot` here; save .svg, .dot or .mmd")
    command = [program, f"-T{form}"]
    done = subprocess.run(
        command, input=_drawn(picture, "dot").encode(), capture_output=True, check=False, timeout=_SECONDS
    )
    if done.returncode:
        raise HybridError(f"Graphviz failed: {done.stderr.decode(errors='replace').strip() or done.returncode}")
    return done.stdout


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise HybridError(f"{path} cannot be written: {error.strerror}") from None


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("-s", "--save", metavar="FILE", help="write to FILE; its suffix says the format")
    parser.add_argument("--format", choices=FORMATS, help="(default: by the file's suffix, else dot)")


VERBS = {"show": Verb("draw a DAG: tasks, groups, executors", _show, _arguments)}
