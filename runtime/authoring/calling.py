"""How a Python callable is given its own arguments and the parts of the context that it names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.authoring.context import CONTEXT_KEYS
from runtime.authoring.exceptions import ArgumentError, TaskError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_call(where: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise :class:`ArgumentError` unless the call will work; parameters named like context keys may be missing."""
    optional = [
        parameter.replace(default=None)
        if parameter.name in CONTEXT_KEYS and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        else parameter
        for parameter in signature.parameters.values()
    ]
    try:
        _relaxed(signature, optional).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"{where}: {error}; it is defined as {signature}") from None


def _relaxed(signature: inspect.Signature, parameters: list[inspect.Parameter]) -> inspect.Signature:
    """The signature with those parameters; where a required one follows, the context key stays required too."""
    try:
        return signature.replace(parameters=parameters)
    except ValueError:
        kinds = inspect.Parameter
        movable = [
            parameter.replace(kind=kinds.KEYWORD_ONLY)
            if parameter.name in CONTEXT_KEYS and parameter.kind is kinds.POSITIONAL_OR_KEYWORD
            else parameter
            for parameter in parameters
        ]
        return signature.replace(parameters=sorted(movable, key=lambda parameter: parameter.kind))


def call_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments for ``function``: its own, and those parts of the context that its signature names.

    A function with ``**kwargs`` gets the whole context. Raises :class:`TaskError` where a positional argument takes the
    place of a context key.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-ins tell nothing
        return dict(kwargs)
    positional = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
    taken = positional[: len(args)]
    for name in taken:
        if name in CONTEXT_KEYS:
            raise TaskError(f"positional argument {name!r} has the name of a context key; rename the parameter")
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if everything:
        chosen = {name: value for name, value in context.items() if name not in taken}
    else:
        named = {parameter.name for parameter in parameters}
        chosen = {name: context[name] for name in context if name in named}
    return {**chosen, **kwargs}
