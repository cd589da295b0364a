"""What happens to one DAG file inside the parse child: execute it, check it, make data of it."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from executors.errors import UnknownExecutorError
from executors.names import ExecutorName, check_executor_field
from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import DagFileError
from runtime.authoring.loader import LoadedFile, load_file
from runtime.authoring.serialize import dag_spec, unused_default_args
from runtime.core.errors import HybridError
from runtime.core.specs import DagSpec, ParsedFile
from runtime.secrets.access import NOBODY, Supply, serve
from runtime.secrets.masking import masker

LONGEST_ERROR = 8_192
"""Characters of an error text; the front is kept."""


class ImportTimeLimitError(BaseException):
    """Raised inside the file's code when its time is over; no ``Exception``, so that it is not swallowed easily."""


def parse_file(
    dags_folder: Path,
    rel_path: str,
    executors: Sequence[ExecutorName],
    defaults: Defaults,
    secrets: Supply = NOBODY,
) -> ParsedFile:
    """The file's DAGs, or its one error. Runs user code; raises nothing that user code can raise.

    :param secrets: where connections and variables come from that the file asks for at its top level.
    """
    loaded: LoadedFile | None = None
    serve(*secrets)
    try:
        loaded = load_file(dags_folder, rel_path, defaults)
        specs = tuple(dag_spec(dag) for dag in loaded.dags.values())
        for spec in specs:
            check_executors(spec, executors)
    except BaseException as error:
        return ParsedFile(
            rel_path=rel_path,
            file_hash=loaded.file_hash if loaded else _hash(dags_folder / rel_path),
            error=describe(error, dags_folder, rel_path),
            dependencies=loaded.dependencies if loaded else (),
        )
    warnings = [*loaded.warnings, *(line for dag in loaded.dags.values() for line in unused_default_args(dag))]
    return ParsedFile(
        rel_path=rel_path,
        file_hash=loaded.file_hash,
        dags=specs,
        dependencies=loaded.dependencies,
        warnings=tuple(masker.text(line) for line in warnings),
    )


def check_executors(spec: DagSpec, executors: Sequence[ExecutorName]) -> None:
    """Raise :class:`DagFileError` for the first task whose ``executor=`` is not configured."""
    for task in spec.tasks:
        if task.executor is None:
            continue
        try:
            for name in (task.executor, *task.executor_fallback):
                check_executor_field(executors, name)
        except UnknownExecutorError as error:
            whose = f"DAG {spec.dag_id!r}, task {task.task_id!r}"
            source = {"default_args": " (executor of default_args)", "dag": " (executor of the DAG)"}
            raise DagFileError(f"{whose}: {error}{source.get(task.executor_source or '', '')}") from None


def describe(error: BaseException, dags_folder: Path, rel_path: str) -> str:
    """The error for people: one line with its place, and for what the file's own code raised, the way there."""
    line = f"{_place(error, dags_folder, rel_path)}{_message(error)}"
    if isinstance(error, HybridError | SyntaxError | SystemExit | ImportTimeLimitError):
        return masker.text(line)[:LONGEST_ERROR]
    frames = [frame for frame in _frames(error) if _is_below(frame, dags_folder)]
    # Masked before it is cut: half a secret is not found any more.
    return masker.text("".join([line, "\n", *traceback.format_list(frames[-10:])]))[:LONGEST_ERROR].rstrip()


def _message(error: BaseException) -> str:
    if isinstance(error, HybridError | ImportTimeLimitError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    if isinstance(error, SystemExit):
        return f"the file calls exit({'' if error.code is None else repr(error.code)}) while it is imported; remove it"
    if isinstance(error, OSError) and not any(frame.name == "<module>" for frame in _frames(error)):
        return f"the file cannot be read: {error.strerror or error}"
    return _named(error)


def _named(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:
        text = "(its text cannot be told: __str__ raises)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, dags_folder: Path, rel_path: str) -> str:
    """``line 3: ``, with the file's name where it is another file of the folder."""
    file, number = "", 0
    if isinstance(error, SyntaxError) and error.filename:
        file, number = error.filename, error.lineno or 0
    else:
        for frame in _frames(error):
            if _is_below(frame, dags_folder):
                file, number = frame.filename, frame.lineno or 0
    if not number or not Path(file).is_relative_to(dags_folder):
        return ""
    inner = str(Path(file).relative_to(dags_folder))
    return f"line {number}: " if inner == rel_path else f"{inner}, line {number}: "


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    return iter(traceback.extract_tb(error.__traceback__))


def _is_below(frame: traceback.FrameSummary, dags_folder: Path) -> bool:
    return Path(frame.filename).is_relative_to(dags_folder)


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
