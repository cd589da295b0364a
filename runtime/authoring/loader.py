"""Executes one DAG file and collects its DAGs. Used by the parse child and by workers; both run user code anyway."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from runtime.authoring.dag import DAG, DagFactory
from runtime.authoring.defaults import Defaults
from runtime.authoring.exceptions import DagFileError
from runtime.authoring.loading import loading_file

_PREFIX = "hybrid_dag_file_"


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One version of one DAG file, ready to run tasks from."""

    rel_path: str
    file_hash: str
    """SHA-256 of the file's bytes, in hex."""
    dags: dict[str, DAG]
    dependencies: tuple[str, ...] = ()
    """Modules and template files below the DAGs folder that it used, relative, sorted."""
    warnings: tuple[str, ...] = ()


def load_file(dags_folder: Path | str, rel_path: str, defaults: Defaults | None = None) -> LoadedFile:
    """Execute ``dags_folder/rel_path`` under a module name of its own and compile its DAGs' templates.

    Several versions of a file may live in one process. Modules below the DAGs folder are imported afresh for each load:
    keeping those that did not change would keep what they imported from ones that did.

    Raises :class:`OSError` where it cannot be read, ``SyntaxError``, whatever its code raises (``SystemExit`` too), and
    :class:`DagFileError` for what it describes. Not thread-safe.
    """
    dags_folder = Path(dags_folder)
    path = dags_folder / rel_path
    source = path.read_bytes()
    file_hash = hashlib.sha256(source).hexdigest()
    _forget_modules(dags_folder)
    module = ModuleType(_module_name(rel_path, file_hash))
    module.__file__ = str(path)
    with loading_file(str(path), defaults or Defaults()) as load:
        code = compile(source, str(path), "exec", dont_inherit=True)
        _on_path(dags_folder)
        sys.modules[module.__name__] = module
        exec(code, module.__dict__)  # noqa: S102  the purpose of this process
        dags = _collect(rel_path, [*load.dags, *(value for value in vars(module).values() if isinstance(value, DAG))])
    for dag in dags.values():
        for task in dag.tasks:
            dag.templates.prepare(task)
    return LoadedFile(
        rel_path=rel_path,
        file_hash=file_hash,
        dags=dags,
        dependencies=_dependencies(dags_folder, dags.values()),
        warnings=_uncalled(module),
    )


def forget_file(loaded: LoadedFile) -> None:
    """Let go of the module of a version that nobody in this process runs any more; else it stays for ever."""
    sys.modules.pop(_module_name(loaded.rel_path, loaded.file_hash), None)


def _module_name(rel_path: str, file_hash: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(rel_path.encode()).hexdigest()[:8]}_{file_hash[:16]}"


def _collect(rel_path: str, found: Iterable[DAG]) -> dict[str, DAG]:
    dags: dict[str, DAG] = {}
    for dag in found:
        if dags.setdefault(dag.dag_id, dag) is not dag:
            raise DagFileError(f"{rel_path} defines two DAGs {dag.dag_id!r}; rename one")
    return dags


def _on_path(dags_folder: Path) -> None:
    """Let DAG files import from the DAGs folder; as the last place, so that no ``email.py`` there hides Python's."""
    if str(dags_folder) not in sys.path:
        sys.path.append(str(dags_folder))
    importlib.invalidate_caches()


def _forget_modules(dags_folder: Path) -> None:
    for name in [name for name, _ in _modules_below(dags_folder) if not name.startswith(_PREFIX)]:
        del sys.modules[name]


def _modules_below(dags_folder: Path) -> list[tuple[str, str]]:
    """(name, file) of the modules that come from the DAGs folder."""
    below = f"{dags_folder}{os.sep}"
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(below):
            found.append((name, file))
    return found


def _dependencies(dags_folder: Path, dags: Iterable[DAG]) -> tuple[str, ...]:
    files = {file for name, file in _modules_below(dags_folder) if not name.startswith(_PREFIX)}
    files |= {str(file) for dag in dags for file in dag.templates.files}
    below = f"{dags_folder}{os.sep}"
    return tuple(sorted(file.removeprefix(below) for file in files if file.startswith(below)))


def _uncalled(module: ModuleType) -> tuple[str, ...]:
    return tuple(
        f"the @dag function {name!r} is never called, so there is no DAG of it; add {name}() at the end"
        for name, value in vars(module).items()
        if isinstance(value, DagFactory) and not value.called and value.__module__ == module.__name__
    )
