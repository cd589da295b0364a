"""Tasks that call a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from runtime.authoring.arguments import flag, mapping
from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.calling import call_arguments
from runtime.authoring.exceptions import ArgumentError


class PythonOperator(BaseOperator):
    """Calls ``python_callable`` with its arguments and the parts of the context that its signature names.

    :param templates_dict: dictionary whose values are templates; the callable asks for it by that name.
    :param multiple_outputs: the callable returns a dictionary, each item of which becomes an XCom of its own, too.
    """

    template_fields: ClassVar[Sequence[str]] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        multiple_outputs: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = f"task {self.task_id!r}"
        if not callable(python_callable):
            raise ArgumentError(f"{where}: python_callable must be a function, not {python_callable!r}")
        if isinstance(op_args, str):
            raise ArgumentError(f"{where}: op_args must be a list; write [{op_args!r}]")
        self.python_callable = python_callable
        self.op_args: Sequence[Any] = tuple(op_args or ())
        self.op_kwargs = mapping(where, "op_kwargs", op_kwargs)
        self.templates_dict = templates_dict
        self.multiple_outputs = flag(where, "multiple_outputs", multiple_outputs)

    def execute(self, context: Mapping[str, Any]) -> Any:
        """What the callable returns."""
        if self.templates_dict is not None:
            context = {**context, "templates_dict": self.templates_dict}
        kwargs = call_arguments(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.python_callable(*self.op_args, **kwargs)
