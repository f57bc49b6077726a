"""Look up the annotation and the default of an argument in the signature of what takes it."""

from __future__ import annotations

import builtins
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import FunctionType, SimpleNamespace
from typing import Any

from sweeplab.targets.kinds import NO_HINT, Unknown
from sweeplab.targets.values import Argument

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@lru_cache(maxsize=4096)
def signature(target: Callable[..., object]) -> inspect.Signature | None:
    """Return the signature of a class or function; None if it has none, as some that are written in
    C.
    """
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=4096)
def argument(target: Callable[..., object], name: str) -> Argument | None:
    """Return what is known of the argument `name` of a class or function; None if nothing says what
    it takes.

    An argument that `**kwargs` take is looked up where they most likely go: in overloads, base
    classes, and the class that a function returns.
    """
    own = _parameter(target, name)
    for function in _functions(target):
        parameter = _parameter(function, name)
        if parameter and parameter.kind in (*NAMED, inspect.Parameter.POSITIONAL_ONLY):
            wanted = own or parameter
            return Argument(_evaluated(wanted.annotation, function), wanted.default)
    if own is None:
        return None
    return Argument(_evaluated(own.annotation, target), own.default)


def _parameter(target: Callable[..., object], name: str) -> inspect.Parameter | None:
    known = signature(target)
    return known.parameters.get(name) if known else None


def _functions(target: Any) -> Iterator[Callable[..., object]]:
    """Yield the functions that may get an argument of `target`, the one that is called first."""
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
        annotations = getattr(inspect.unwrap(target), "__annotations__", {})
        returned = _evaluated(annotations.get("return", Any), target)
        if isinstance(returned, type):
            yield from _functions(returned)


def _evaluated(annotation: Any, function: Callable[..., object]) -> Any:
    """Return an annotation as a type; NO_HINT if there is none or it cannot be evaluated."""
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
