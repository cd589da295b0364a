"""The configured executors: which classes, with which slots and options, and how to make one.

Loading imports the classes and makes nothing; :meth:`ExecutorRegistry.create` makes one executor, in the thread that
will own it. Every failure is one :class:`ExecutorLoadError` line that names the entry; the cause stays chained.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

from executors.base import BaseExecutor
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError, ExecutorLoadError
from executors.names import BUILTINS, COMPOSITES, ExecutorName, composites, did_you_mean, lookup, parse_executors

Options = Callable[[str, str | None], Mapping[str, str]]
"""``(section, alias)`` → the section's options, overlaid with those of ``[section:alias]``, environment included."""

EXTRAS = {"celery": "celery", "redis": "celery", "kubernetes": "kubernetes", "boto3": "aws"}
"""Library → the extra of ``hybrid-runtime`` that installs it."""


@dataclass(frozen=True)
class ConfiguredExecutor:
    """One entry of ``[core] executor``, loaded but not made."""

    name: ExecutorName
    cls: type[BaseExecutor]
    parallelism: int
    """Slots; 0 is unlimited. The entry's own option ``parallelism``, else ``[core] parallelism``; 1 where the class is
    single-threaded."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def warning(self) -> str | None:
        """What an operator should read at start, in one line."""
        if self.cls.is_production:
            return None
        return f"executor {self.name}: {self.name.class_name} is not meant for production"


@dataclass(frozen=True)
class BrokenExecutor:
    """One entry of ``[core] executor`` that cannot be loaded."""

    name: ExecutorName
    reason: str
    """One line that names the entry."""


def load_each(value: str, *, options: Options, parallelism: int) -> list[ConfiguredExecutor | BrokenExecutor]:
    """As :meth:`ExecutorRegistry.load`, for whoever wants to know of all entries: a broken one is no error.

    Raises :class:`ExecutorConfigError` for a bad list.
    """
    found: list[ConfiguredExecutor | BrokenExecutor] = []
    for name in parse_executors(value):
        try:
            found.append(_configure(name, options, parallelism))
        except ExecutorConfigError as error:
            found.append(BrokenExecutor(name, str(error)))
    return found


class ExecutorRegistry:
    """The executors in the order of the list; the first is the default."""

    def __init__(self, executors: Sequence[ConfiguredExecutor]) -> None:
        self._executors = {executor.name.name: executor for executor in executors}
        self.names = tuple(executor.name for executor in executors)
        self.warnings = [executor.warning for executor in executors if executor.warning]
        """What an operator should read at start, one line each."""

    @classmethod
    def load(cls, value: str, *, options: Options, parallelism: int) -> ExecutorRegistry:
        """Read the list ``value`` and import every class of it.

        :param parallelism: ``[core] parallelism``, the slots of an entry that has no such option of its own.

        Raises :class:`ExecutorConfigError` for a bad list or ``parallelism``, :class:`ExecutorLoadError` for a class.
        """
        if parallelism < 0:
            raise ExecutorConfigError(f"[core] parallelism = {parallelism} is negative; use 0 for unlimited")
        made = cls([_configure(name, options, parallelism) for name in parse_executors(value)])
        made.warnings += [_composite_warning(name) for name in composites(value)]
        return made

    @property
    def default(self) -> ConfiguredExecutor:
        return self._executors[self.names[0].name]

    def __iter__(self) -> Iterator[ConfiguredExecutor]:
        return iter(self._executors.values())

    def __len__(self) -> int:
        return len(self._executors)

    def get(self, name: str) -> ConfiguredExecutor | None:
        """By exact name, as stored with an attempt; ``None`` where it is no longer configured."""
        return self._executors.get(name)

    def lookup(self, text: str) -> ConfiguredExecutor:
        """By name, class name or dotted path. Raises :class:`UnknownExecutorError`."""
        return self._executors[lookup(self.names, text).name]

    def create(self, name: str, context: ExecutorContext) -> BaseExecutor:
        """Make the executor called ``name``; may block as long as its constructor does.

        The context's name and options are filled in here. Raises :class:`ExecutorLoadError` with what the constructor
        raised, ``KeyError`` for a name that is not configured.
        """
        executor = self._executors[name]
        context = replace(context, name=name, options=executor.options)
        try:
            made = _construct(executor.cls, executor.parallelism, context)
        except (Exception, SystemExit) as error:
            raise _error(executor.name, f"its constructor raised {_told(error)}") from error
        if not isinstance(getattr(made, "queued_tasks", None), dict):
            raise _error(executor.name, "its constructor does not call super().__init__()")
        return made


def _composite_warning(name: str) -> str:
    composite = COMPOSITES[name]
    return (
        f"[core] executor = {name} is deprecated: it is taken as {composite}, and tasks of the queue that "
        f"[{composite.conf_section}] kubernetes_queue names go to the second; write that list, and a rule in "
        "[core] executor_routes"
    )


def _construct(cls: type[BaseExecutor], parallelism: int, context: ExecutorContext) -> BaseExecutor:
    """Also executors written before there was a ``context``: then the attributes are set afterwards."""
    parameters = inspect.signature(cls).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {"parallelism": parallelism, "context": context}
    made = cls(**{key: value for key, value in given.items() if open_ended or key in parameters})  # type: ignore[arg-type]
    if getattr(made, "context", None) is not context:
        made.context, made.name, made.parallelism = context, context.name, parallelism
        made.log = logging.getLogger(f"executors.{context.name}")
    return made


def _configure(name: ExecutorName, options: Options, parallelism: int) -> ConfiguredExecutor:
    cls = _import_class(name)
    section = cls.conf_section
    if section is not None and (type(section) is not str or not section):
        raise _error(name, f"its conf_section is {section!r}; it takes the name of a section, or None")
    own = dict(options(section, name.alias)) if section else {}
    for extra, prefix in cls.conf_sections_extra.items():
        own |= {f"{prefix}{option}": value for option, value in options(extra, name.alias).items()}
    slots = _parallelism(name, section, own, parallelism)
    return ConfiguredExecutor(name, cls, 1 if cls.is_single_threaded else slots, own)


def _parallelism(name: ExecutorName, section: str | None, own: Mapping[str, str], default: int) -> int:
    raw = own.get("parallelism", "").strip()
    if not raw:
        return default
    where = f"[{section}:{name.alias}] or [{section}]" if name.alias else f"[{section}]"
    try:
        value = int(raw)
    except ValueError:
        raise _config_error(name, f"parallelism = {raw!r} in {where} is not a whole number") from None
    if value < 0:
        raise _config_error(name, f"parallelism = {value} in {where} is negative; use 0 for unlimited")
    return value


def _import_class(name: ExecutorName) -> type[BaseExecutor]:
    module_name, _, class_name = name.path.rpartition(".")
    module = _import_module(name, module_name)
    try:
        found = getattr(module, class_name)
    except AttributeError as error:
        near = did_you_mean(class_name, _executor_classes(module))
        raise _error(name, f"module {module_name} has no {class_name}{near}") from error
    if not isinstance(found, type):
        raise _error(name, f"{class_name} in {module_name} is no class but of type {type(found).__name__}")
    if not issubclass(found, BaseExecutor) or found is BaseExecutor:
        raise _error(name, f"class {class_name} in {module_name} does not inherit from executors.BaseExecutor")
    return found


def _import_module(name: ExecutorName, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise _error(name, _missing(name, module_name, error)) from error
    except (Exception, SystemExit) as error:
        raise _error(name, f"importing {module_name} raised {_told(error)}") from error


def _missing(name: ExecutorName, module_name: str, error: ModuleNotFoundError) -> str:
    missing = error.name or ""
    if missing != module_name and not module_name.startswith(f"{missing}."):
        extra = EXTRAS.get(missing.partition(".")[0])
        advice = f"pip install 'hybrid-runtime[{extra}]'" if extra else f"install what provides {missing}"
        return f"importing {module_name} needs the module {missing or error}, which is not installed; {advice}"
    advice = (
        f"; did you mean {name.class_name}?" if name.class_name in BUILTINS else "; is it installed, and on PYTHONPATH?"
    )
    return f"there is no module {missing}{advice}"


def _executor_classes(module: ModuleType) -> list[str]:
    return [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, BaseExecutor)]


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _config_error(name: ExecutorName, reason: str) -> ExecutorConfigError:
    return ExecutorConfigError(f"executor {name}, entry {name.position} of [core] executor: {reason}")


def _error(name: ExecutorName, reason: str) -> ExecutorLoadError:
    return ExecutorLoadError(f"[core] executor, entry {name.position} {name.entry!r}: {reason}")
