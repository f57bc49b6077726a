"""The annotation and the default of an argument, found in the signature of what takes it."""

from __future__ import annotations

import builtins
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import FunctionType, SimpleNamespace
from typing import Any

from sweeplab.targets.values import NO_HINT, Argument, Unknown

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@lru_cache(maxsize=4096)
def signature(target: Callable[..., object]) -> inspect.Signature | None:
    """The signature of a class or function; None where it has none, as some that are written in C."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=4096)
def argument(target: Callable[..., object], name: str) -> Argument | None:
    """The argument `name` of a class or function; None where nothing says what it takes.

    What `**kwargs` take is looked up where they most likely go: in overloads, base classes, and the class that a
    function returns.
    """
    found = signature(target)
    own = found.parameters.get(name) if found else None
    for function in _functions(target):
        its = signature(function)
        parameter = its.parameters.get(name) if its else None
        if parameter is None or parameter.kind not in (*NAMED, inspect.Parameter.POSITIONAL_ONLY):
            continue
        wanted = own or parameter
        return Argument(_resolved(wanted.annotation, function), wanted.default)
    return Argument(_resolved(own.annotation, target), own.default) if own else None


def _functions(target: Any) -> Iterator[Callable[..., object]]:
    """The functions that may get an argument of `target`, the one that is called first."""
    while isinstance(target, partial):
        target = target.func
    if isinstance(target, type):
        for base in target.__mro__:
            for function in (vars(base).get("__init__"), vars(base).get("__new__")):
                if isinstance(function, FunctionType):
                    yield function
                    yield from typing.get_overloads(function)
    elif callable(target):
        yield target
        returned = _resolved(getattr(inspect.unwrap(target), "__annotations__", {}).get("return", Any), target)
        if isinstance(returned, type):
            yield from _functions(returned)


def _resolved(annotation: Any, function: Callable[..., object]) -> Any:
    """An annotation as a type, NO_HINT where there is none or it cannot be read."""
    if annotation is NO_HINT:
        return NO_HINT
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    names = getattr(inspect.unwrap(function), "__globals__", None) or vars(module or builtins)
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=names, localns=_Names(names))["it"]
    except Exception:  # whatever a user's annotation does when it is evaluated
        return NO_HINT


class _Names(dict[str, Any]):
    """The names of a module; what was imported for a type checker only is Unknown."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names.get(name, getattr(builtins, name, Unknown))
