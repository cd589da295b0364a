"""Jinja in template fields: compiled once when the file is loaded, rendered for each task run.

Text without ``{{``, ``{%`` or ``{#`` is never given to Jinja, and a DAG without templates never imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.authoring.exceptions import DagFileError, TaskError
from runtime.authoring.jinja import JinjaOptions, make_environment, search_folders
from runtime.authoring.references import Reference

if TYPE_CHECKING:
    import jinja2

    from runtime.authoring.baseoperator import BaseOperator

_MARKERS = ("{{", "{%", "{#")


def is_template(text: str) -> bool:
    """Whether Jinja has anything to do in ``text``."""
    return any(marker in text for marker in _MARKERS)


class Templates:
    """The templates of one DAG."""

    def __init__(self, dag_id: str, folder: Path, options: JinjaOptions | None = None) -> None:
        self._dag_id = dag_id
        self._folder = folder
        self._options = options or JinjaOptions()
        self._environment: jinja2.Environment | None = None
        self._compiled: dict[str, jinja2.Template] = {}
        self.files: list[Path] = []
        """Files that fields were read from."""

    def prepare(self, task: BaseOperator) -> None:
        """Read the task's template files and compile its templates.

        Raises :class:`DagFileError` that names DAG, task, field and line.
        """
        dynamic = []
        for name in task.template_fields:
            value = getattr(task, name)
            where = f"DAG {self._dag_id!r}, task {task.task_id!r}, field {name!r}"
            loaded = _map_text(value, partial(self._read, task=task, where=where))
            if loaded is not value:
                setattr(task, name, loaded)
            if self._compile_all(loaded, where):
                dynamic.append(name)
        task.dynamic_fields = tuple(dynamic)

    def render_fields(self, task: BaseOperator, context: Mapping[str, Any]) -> None:
        """Render the template fields of ``task``, in place; hand in a copy."""
        if task.dynamic_fields is None:
            self.prepare(task)
        for name in task.dynamic_fields or ():
            where = f"task {task.task_id!r}, field {name!r}"
            setattr(task, name, self._render(getattr(task, name), context, where))

    def render_value(self, value: Any, context: Mapping[str, Any], where: str) -> Any:
        """Render a text, or the texts in a list or dictionary. ``where`` begins errors. Raises :class:`TaskError`."""
        return self._render(value, context, where)

    def _render(self, value: Any, context: Mapping[str, Any], where: str) -> Any:
        if isinstance(value, Reference):
            return value.resolve(context)
        if isinstance(value, str):
            return self._render_text(value, context, where) if is_template(value) else value
        return _map_items(value, lambda item: self._render(item, context, where))

    def _render_text(self, text: str, context: Mapping[str, Any], where: str) -> Any:
        import jinja2

        template = self._compiled.get(text) or self._compile(text, where)
        try:
            return template.render(context)
        except jinja2.UndefinedError as error:
            raise TaskError(f"{where}, line {_line_of(error)}: {error.message}") from error

    def _compile_all(self, value: Any, where: str) -> bool:
        """Compile what is in ``value``; whether there is anything to render or resolve."""
        if isinstance(value, Reference):
            return True
        if isinstance(value, str):
            if not is_template(value):
                return False
            if value not in self._compiled:
                self._compiled[value] = self._compile(value, where)
            return True
        items: Iterable[Any] = ()
        if isinstance(value, Mapping):
            items = value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            items = value
        return sum(self._compile_all(item, where) for item in items) > 0

    def _compile(self, text: str, where: str) -> jinja2.Template:
        import jinja2

        if self._environment is None:
            self._environment = self._make_environment(where)
        try:
            return self._environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise DagFileError(f"{where}, line {error.lineno}: template error: {error.message}") from None

    def _make_environment(self, where: str) -> jinja2.Environment:
        try:
            return make_environment(self._folder, self._options)
        except (TypeError, ValueError) as error:
            raise DagFileError(f"{where}: jinja_environment_kwargs of DAG {self._dag_id!r}: {error}") from None

    def _read(self, text: str, task: BaseOperator, where: str) -> str:
        if not text.endswith(tuple(task.template_ext) or ("\0",)) or "\n" in text:
            return text
        folders = search_folders(self._folder, self._options)
        path = next((folder / text for folder in folders if (folder / text).is_file()), folders[0] / text)
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DagFileError(
                f"{where}: {text!r} ends like a template file, but {path} cannot be read ({reason}); "
                "to use it as a command, end it with a space"
            ) from None
        self.files.append(path)
        return content


def _map_items(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with each item of a list, tuple, set or dictionary changed; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(change(item) for item in value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(change(item) for item in value)
    return value


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with its strings changed; the very same object where none did."""
    if isinstance(value, str):
        return change(value)
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    changed = False

    def visit(item: Any) -> Any:
        nonlocal changed
        result = _map_text(item, change)
        changed = changed or result is not item
        return result

    mapped = _map_items(value, visit)
    return mapped if changed else value


def _line_of(error: BaseException) -> int:
    """Line of the template in which rendering stopped: Jinja rewrites tracebacks to the template's own lines."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
