"""Tell the kinds of value that an annotation allows, and name them in the words of messages.

Plain are bool, int, float, str, None, Literal, and lists and unions of them. What else an
annotation names (a tensor, a class, a function) may be made of anything.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections import abc
from typing import Any

from sweeplab.config.text import SCALAR_NAMES, yaml_str

NO_HINT = inspect.Parameter.empty
_LISTS = (list, tuple, set, frozenset)
ABSTRACT_LISTS = (abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence, abc.Set)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_WORDS = SCALAR_NAMES | {complex: "a number"}
_PLURALS: dict[Any, str] = {
    bool: "booleans",
    int: "whole numbers",
    float: "numbers",
    complex: "numbers",
    str: "texts",
}


class Unknown:
    """Stands in an annotation for a class that cannot be looked up."""


def kinds_of(hint: Any) -> list[Any]:
    """Return the members of a union, of nested ones, too; for others the annotation itself."""
    while hasattr(hint, "__supertype__"):  # a NewType
        hint = hint.__supertype__
    if hasattr(hint, "__value__"):  # a `type` statement
        return kinds_of(hint.__value__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds: list[Any] = []
        for member in typing.get_args(hint):
            kinds += kinds_of(member)
        return kinds
    if typing.get_origin(hint) in (typing.Annotated, typing.Final):
        return kinds_of(typing.get_args(hint)[0])
    return [type(None) if hint is None else hint]


def base(kind: Any) -> Any:
    """Return `list` for `list[int]`, and any other kind as it is."""
    return typing.get_origin(kind) or kind


def is_list(kind: Any) -> bool:
    return base(kind) in (*_LISTS, *ABSTRACT_LISTS)


def is_dict(kind: Any) -> bool:
    return base(kind) in _DICTS


def takes_tensor(hint: Any) -> bool:
    """Tell whether an annotation wants a tensor, and no list, number or text in its place."""
    kinds = [kind for kind in kinds_of(hint) if kind is not type(None)]
    names = [(getattr(kind, "__module__", ""), getattr(kind, "__name__", "")) for kind in kinds]
    return bool(names) and set(names) == {("torch", "Tensor")}


def is_tensor_for_number(kind: Any, kinds: list[Any]) -> bool:
    name = getattr(kind, "__module__", ""), getattr(kind, "__name__", "")
    return name == ("torch", "Tensor") and not {int, float, complex}.isdisjoint(kinds)


def all_plain(kinds: list[Any]) -> bool:
    """Whether the kinds tell anything: all are plain, or a boolean is among them.

    A tensor beside a number, as in `lr: float | Tensor`, takes nothing away: no config can hold
    one.
    """
    if bool in kinds and Any not in kinds:
        return True
    return all(_is_plain(kind) or is_tensor_for_number(kind, kinds) for kind in kinds)


def _is_plain(kind: Any) -> bool:
    if kind in _WORDS or kind is type(None):
        return True
    return base(kind) is typing.Literal or is_list(kind) or is_dict(kind)


def literals(kind: Any) -> tuple[Any, ...]:
    """Return the choices of a Literal; none of other kinds."""
    return typing.get_args(kind) if base(kind) is typing.Literal else ()


def in_words(kinds: list[Any], default: Any) -> str:
    """Name the kinds that are allowed, null at the end."""
    words: dict[str, None] = {}
    for kind in kinds:
        if kind not in (type(None), Unknown) and not is_tensor_for_number(kind, kinds):
            words[_kind_in_words(kind)] = None
    if default is None or type(None) in kinds:
        words["null"] = None
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _kind_in_words(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if choices := literals(kind):
        return f"one of {', '.join(map(yaml_str, choices))}"
    if is_list(kind):
        return _list_in_words(kind)
    if not is_dict(kind):
        return f"a {getattr(kind, '__name__', kind)}"
    plural = _PLURALS.get(typing.get_args(kind)[-1]) if typing.get_args(kind) else None
    return f"a section of keys with {plural}" if plural else "a section of keys"


def _list_in_words(kind: Any) -> str:
    items = typing.get_args(kind)
    if not items:
        return "a list"
    plural = _PLURALS.get(items[0])
    if len(items) == 1:
        kinds = kinds_of(items[0])
        if bool in kinds and len(kinds) > 1:
            return f"a list of values, each {in_words(kinds, NO_HINT)}"
    if base(kind) is tuple and Ellipsis not in items:
        same = plural and len(set(items)) == 1
        return f"a list of {len(items)} {plural if same else 'values'}"
    return f"a list of {plural}" if plural else "a list"
