"""How an operator object comes to be: checked arguments, ``default_args`` merged, references turned into edges."""

from __future__ import annotations

import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping
from typing import Any

from runtime.authoring.arguments import mapping, reject_unknown
from runtime.authoring.exceptions import ArgumentError
from runtime.authoring.references import references
from runtime.authoring.setups import current_scope

_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class OperatorMeta(ABCMeta):
    """Makes operators out of keyword arguments.

    Each class's own ``__init__`` takes from the merged ``default_args`` (DAG's, then the task's) what it names and was
    not given, so that a class which passes ``retries=3`` on to its base is not contradicted by a ``retries`` there.
    """

    accepted: frozenset[str]
    """Argument names of the class and its bases."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> OperatorMeta:
        init = namespace.get("__init__")
        if init is not None:
            namespace["__init__"] = _taking_defaults(init)
        cls = super().__new__(mcs, name, bases, namespace, **kwargs)
        cls.accepted = frozenset().union(
            *(_names(vars(base)["__init__"]) for base in cls.__mro__[:-1] if "__init__" in vars(base))
        )
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        where = f"{cls.__name__} {kwargs.get('task_id', '')!r}" if kwargs.get("task_id") else cls.__name__
        if args:
            raise ArgumentError(f"{where}: pass arguments by name, not {args[0]!r} by position")
        from runtime.authoring.dag import current_dag
        from runtime.authoring.groups import current_group

        own = mapping(where, "default_args", kwargs.pop("default_args", None))
        reject_unknown(where, kwargs, cls.accepted)
        if kwargs.get("task_id") is None:
            raise ArgumentError(f"{where}: task_id is missing")
        dag = kwargs.get("dag") or current_dag()
        group = kwargs.get("task_group") or current_group(dag)
        self: Any = cls.__new__(cls)  # type: ignore[call-arg, arg-type]  # mypy takes it for the metaclass's own
        self._defaults = {**(dag.default_args if dag else {}), **(group.default_args if group else {}), **own}
        self._by_default = set()
        kwargs["dag"] = dag
        if group is not None:
            kwargs["task_group"] = group
        self.__init__(**kwargs)
        _finish(self, where)
        return self


def _finish(self: Any, where: str) -> None:
    if "task_id" not in vars(self):
        raise ArgumentError(f"{where}: its __init__ must call super().__init__(**kwargs)")
    if (scope := current_scope()) is not None:
        scope.add_task(self)
    if self.dag is not None:
        self.dag.used_default_args.update(type(self).accepted)
    for name in self.template_fields:
        if not hasattr(self, name):
            raise ArgumentError(f"{where}: template field {name!r} is no attribute; set it in __init__")
        for reference in references(getattr(self, name)):
            for upstream in reference.operators():
                self.set_upstream(upstream)
    del self._defaults


def _names(init: Callable[..., None]) -> list[str]:
    parameters = list(inspect.signature(init).parameters.values())[1:]
    return [parameter.name for parameter in parameters if parameter.kind in _NAMED]


def _taking_defaults(init: Callable[..., None]) -> Callable[..., None]:
    names = [name for name in _names(init) if name not in ("task_id", "dag", "task_group")]

    @functools.wraps(init)
    def init_with_defaults(self: Any, *args: Any, **kwargs: Any) -> None:
        defaults: Mapping[str, Any] = self._defaults
        if defaults and not args:
            for name in names:
                if name in defaults and name not in kwargs:
                    kwargs[name] = defaults[name]
                    self._by_default.add(name)
        init(self, *args, **kwargs)

    return init_with_defaults
