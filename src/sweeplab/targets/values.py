"""Check the value of an argument against its annotation and its default, where these are plain.

Plain are bool, int, float, str, None, Literal, and lists and unions of them. What else an
annotation names (a tensor, a class, a function) may be made of anything.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum
from os import PathLike
from typing import Any

from sweeplab.config.text import SCALAR_NAMES, yaml_str
from sweeplab.errors import comma_for_point, nearest

NO_HINT = inspect.Parameter.empty
SWITCHES = frozenset(["on", "off", "yes", "no", "y", "n", "t", "f", "true", "false", "none", "null", "~"])
"""Words that stand for a boolean or for null, but are texts to Hydra."""

_LISTS = (list, tuple, set, frozenset)
_ABSTRACT_LISTS = (abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence, abc.Set)
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


@dataclass(frozen=True, slots=True)
class Argument:
    """What is known of an argument; NO_HINT stands for no annotation, and for no default."""

    hint: Any
    default: Any


def problem(value: Any, argument: Argument) -> str:
    """Say what the value must be (`must be true or false`); '' if nothing speaks against it."""
    kinds = _kinds(argument.hint)
    default = argument.default
    if default is not NO_HINT and default is not None and not _fits(_as_lists(default), kinds):
        kinds = [Any]  # an annotation that its own default contradicts tells nothing
    if not _all_plain(kinds):
        return _problem_by_default(value, argument)
    if value is None and default is None:
        return ""
    if _fits(value, kinds) and not _is_switch(value, kinds, default):
        return ""
    return f"must be {_in_words(kinds, default)}{_advice(value, kinds)}"


def _problem_by_default(value: Any, argument: Argument) -> str:
    """Judge by the default alone: a text is neither a boolean nor, if it is one of SWITCHES, a
    number.
    """
    default = argument.default
    is_text = isinstance(value, str)
    is_switch = is_text and value.lower() in SWITCHES
    if isinstance(default, bool):
        if is_switch or (is_text and argument.hint is NO_HINT):
            return f"must be true or false{_advice(value, [bool])}"
    elif isinstance(default, int | float):
        if is_switch:
            return f"must be a number{_advice(value, [float])}"
    elif isinstance(default, tuple | list):
        if is_switch:
            return "must be a list"
        if isinstance(value, list):
            return _item_problem_by_default(value, default)
    elif default is None and value == "None":
        return "is a text; null is none"
    return ""


def _item_problem_by_default(value: list[Any], default: Sequence[Any]) -> str:
    """Judge the items of a list by those of the default: none of SWITCHES stands for a boolean or a
    number.
    """
    kinds = {type(item) for item in default}
    if not kinds or not kinds <= {bool, int, float}:
        return ""
    if not any(isinstance(item, str) and item.lower() in SWITCHES for item in value):
        return ""
    return "must be a list of booleans" if kinds == {bool} else "must be a list of numbers"


def fields(hint: Any) -> Mapping[str, Argument]:
    """Return the fields of a dataclass or a TypedDict in an annotation: a config gives it as a
    section of keys.
    """
    for kind in _kinds(hint):
        if typing.is_typeddict(kind) or (isinstance(kind, type) and is_dataclass(kind)):
            try:
                hints = typing.get_type_hints(kind)
            except Exception:  # whatever a user's annotation does when it is evaluated
                return {}
            return {name: Argument(hint, NO_HINT) for name, hint in hints.items()}
    return {}


def _kinds(hint: Any) -> list[Any]:
    """Return the members of a union, and of the unions inside it; of any other annotation
    itself.
    """
    while hasattr(hint, "__supertype__"):  # a NewType
        hint = hint.__supertype__
    if hasattr(hint, "__value__"):  # a `type` statement
        return _kinds(hint.__value__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds: list[Any] = []
        for member in typing.get_args(hint):
            kinds += _kinds(member)
        return kinds
    if typing.get_origin(hint) in (typing.Annotated, typing.Final):
        return _kinds(typing.get_args(hint)[0])
    return [type(None) if hint is None else hint]


# --- Which kinds an annotation can have -----------------------------------------------------------


def _base(kind: Any) -> Any:
    """Return `list` of `list[int]`."""
    return typing.get_origin(kind) or kind


def _is_list(kind: Any) -> bool:
    return _base(kind) in (*_LISTS, *_ABSTRACT_LISTS)


def _is_dict(kind: Any) -> bool:
    return _base(kind) in _DICTS


def _is_tensor_for_number(kind: Any, kinds: list[Any]) -> bool:
    name = getattr(kind, "__module__", ""), getattr(kind, "__name__", "")
    return name == ("torch", "Tensor") and not {int, float, complex}.isdisjoint(kinds)


def _all_plain(kinds: list[Any]) -> bool:
    """Whether the kinds tell anything: all are plain, or a boolean is among them.

    A tensor beside a number, as in `lr: float | Tensor`, takes nothing away: no config can hold
    one.
    """
    if bool in kinds and Any not in kinds:
        return True
    return all(_is_plain(kind) or _is_tensor_for_number(kind, kinds) for kind in kinds)


def _is_plain(kind: Any) -> bool:
    if kind in _WORDS or kind is type(None):
        return True
    return _base(kind) is typing.Literal or _is_list(kind) or _is_dict(kind)


def _literals(kind: Any) -> tuple[Any, ...]:
    """Return the choices of a Literal; none of other kinds."""
    return typing.get_args(kind) if _base(kind) is typing.Literal else ()


# --- Whether a value is of a kind -----------------------------------------------------------------


def _fits(value: Any, kinds: list[Any]) -> bool:
    if isinstance(value, dict) and "_target_" in value:
        return True  # what it makes is not known
    return any(_fits_kind(value, kind, kinds) for kind in kinds)


def _fits_kind(value: Any, kind: Any, kinds: list[Any]) -> bool:
    if kind is type(None):
        return value is None
    if kind in (bool, str):
        return isinstance(value, kind)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (float, complex):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if _base(kind) is typing.Literal:
        return any(_is_choice(value, choice) for choice in typing.get_args(kind))
    if _is_list(kind):
        return _fits_list(value, kind)
    if _is_dict(kind):
        return isinstance(value, dict) and _fits_dict(value, kind)
    if _is_tensor_for_number(kind, kinds):
        return False
    return not isinstance(value, str) or bool not in kinds or _takes_text(kind)


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether a value is this choice of a Literal: 1 is not true. A member of an enumeration may be
    written anyhow.
    """
    return isinstance(choice, Enum) or (value == choice and type(value) is type(choice))


def _fits_list(value: Any, kind: Any) -> bool:
    arguments = typing.get_args(kind)
    items = [item for item in arguments if item is not Ellipsis]
    if isinstance(value, str):  # is a sequence of texts in Python, but no list
        return _base(kind) in _ABSTRACT_LISTS and (not items or _fits("", _kinds(items[0])))
    if isinstance(value, dict):  # is an iterable of its keys
        return _base(kind) in (abc.Iterable, abc.Collection)
    if not isinstance(value, list):
        return False
    if not items:
        return True
    if _base(kind) is not tuple or Ellipsis in arguments:
        item_kinds = _kinds(items[0])
        return all(_fits(item, item_kinds) for item in value)
    if len(items) != len(value):
        return False
    return all(_fits(item, _kinds(hint)) for item, hint in zip(value, items, strict=True))


def _fits_dict(value: dict[Any, Any], kind: Any) -> bool:
    arguments = typing.get_args(kind)
    if len(arguments) != 2:
        return True
    kinds = _kinds(arguments[1])
    return not _all_plain(kinds) or all(_fits(item, kinds) for item in value.values())


def _takes_text(kind: Any) -> bool:
    """Whether texts stand for the objects of a class: a path, an enumeration."""
    return isinstance(kind, type) and issubclass(kind, PathLike | Enum)


def _is_switch(value: Any, kinds: list[Any], default: Any) -> bool:
    """Whether a text that is allowed was surely meant as the boolean or the null that is allowed as
    well.
    """
    if not isinstance(value, str) or any(value in _literals(kind) for kind in kinds):
        return False
    if value == "None" and (type(None) in kinds or default is None):
        return True
    return bool in kinds and value.lower() in SWITCHES


def _as_lists(value: Any) -> Any:
    """Return a default as a config would hold it: tuples and sets are lists."""
    if isinstance(value, tuple | list | set | frozenset):
        return [_as_lists(item) for item in value]
    return value


# --- In words -------------------------------------------------------------------------------------


def _in_words(kinds: list[Any], default: Any) -> str:
    """Name the kinds that are allowed, null at the end."""
    words: dict[str, None] = {}
    for kind in kinds:
        if kind not in (type(None), Unknown) and not _is_tensor_for_number(kind, kinds):
            words[_kind_in_words(kind)] = None
    if default is None or type(None) in kinds:
        words["null"] = None
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _kind_in_words(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if choices := _literals(kind):
        return f"one of {', '.join(map(yaml_str, choices))}"
    if _is_list(kind):
        return _list_in_words(kind)
    if not _is_dict(kind):
        return f"a {getattr(kind, '__name__', kind)}"
    plural = _PLURALS.get(typing.get_args(kind)[-1]) if typing.get_args(kind) else None
    return f"a section of keys with {plural}" if plural else "a section of keys"


def _list_in_words(kind: Any) -> str:
    items = typing.get_args(kind)
    if not items:
        return "a list"
    plural = _PLURALS.get(items[0])
    if len(items) == 1:
        kinds = _kinds(items[0])
        if bool in kinds and len(kinds) > 1:
            return f"a list of values, each {_in_words(kinds, NO_HINT)}"
    if _base(kind) is tuple and Ellipsis not in items:
        same = plural and len(set(items)) == 1
        return f"a list of {len(items)} {plural if same else 'values'}"
    return f"a list of {plural}" if plural else "a list"


def _advice(value: Any, kinds: list[Any]) -> str:
    """Return the nearest choice; or, if only quotes are wrong, advice about these."""
    choices: list[str] = []
    for kind in kinds:
        choices += [choice for choice in _literals(kind) if isinstance(choice, str)]
    takes_text = str in kinds or bool(choices)
    if isinstance(value, str):
        return _text_advice(value, choices, takes_text)
    if takes_text and isinstance(value, bool):
        return "; YAML reads on, off, yes and no as booleans: quote such a text"
    if str in kinds and isinstance(value, int | float):
        return "; quote it"
    return ""


def _text_advice(text: str, choices: list[str], takes_text: bool) -> str:
    if choices:
        return nearest(text, choices)
    if takes_text:
        return ""
    if advice := comma_for_point(text):
        return advice
    if text.lower() in ("true", "false", "null") or _is_number(text):
        return "; leave the quotes out"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
