"""The value of an argument, checked against its annotation and its default where these are plain.

Plain are bool, int, float, str, None, Literal, and lists and unions of them. What else an annotation names (a tensor, a
class, a function) may be made of anything.
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

from sweeplab.config.text import yaml_str
from sweeplab.errors import comma_for_point, did_you_mean

NO_HINT = inspect.Parameter.empty
SWITCHES = frozenset({"on", "off", "yes", "no", "y", "n", "t", "f", "true", "false", "none", "null", "~"})
"""Words that stand for a boolean or for null, but are texts to Hydra."""

_LISTS = (list, tuple, set, frozenset)
_ABSTRACT_LISTS = (abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence, abc.Set)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", complex: "a number", str: "a text"}
_PLURALS = {bool: "booleans", int: "whole numbers", float: "numbers", complex: "numbers", str: "texts"}


class Unknown:
    """Stands in an annotation for a class that cannot be looked up."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What is known of an argument; NO_HINT stands for no annotation, and for no default."""

    hint: Any
    default: Any


def problem(value: Any, argument: Argument) -> str:
    """Say what the value must be (`must be true or false`); '' where nothing speaks against it."""
    members = _members(argument.hint)
    default = argument.default
    if default is not NO_HINT and default is not None and not _fits(_listed(default), members):
        members = [Any]  # an annotation that its own default contradicts tells nothing
    if not _plain(members):
        return _by_default(value, argument)
    if value is None and default is None:
        return ""
    if _fits(value, members) and not _is_switch(value, members, default):
        return ""
    return f"must be {_in_words(members, default)}{_advice(value, members)}"


def _by_default(value: Any, argument: Argument) -> str:
    """Judge by the default alone: a text is neither a boolean nor, if it is one of SWITCHES, a number."""
    default, word = argument.default, isinstance(value, str)
    switch = word and value.lower() in SWITCHES
    if isinstance(default, bool) and (switch or (word and argument.hint is NO_HINT)):
        return f"must be true or false{_advice(value, [bool])}"
    if isinstance(default, int | float) and switch:
        return f"must be a number{_advice(value, [float])}"
    if isinstance(default, tuple | list) and switch:
        return "must be a list"
    if isinstance(default, tuple | list) and isinstance(value, list):
        return _items_by_default(value, default)
    if default is None and value == "None":
        return "is a text; null is none"
    return ""


def _items_by_default(value: list[Any], default: Sequence[Any]) -> str:
    """Judge the items of a list by those of the default: none of SWITCHES stands for a boolean or a number."""
    kinds = {type(each) for each in default}
    if not kinds or not kinds <= {bool, int, float}:
        return ""
    if not any(isinstance(each, str) and each.lower() in SWITCHES for each in value):
        return ""
    return f"must be a list of {'booleans' if kinds == {bool} else 'numbers'}"


def fields(hint: Any) -> Mapping[str, Argument]:
    """The fields of a dataclass or a TypedDict in an annotation, which may be given as a section of keys."""
    for kind in _members(hint):
        if typing.is_typeddict(kind) or (isinstance(kind, type) and is_dataclass(kind)):
            try:
                return {name: Argument(its, NO_HINT) for name, its in typing.get_type_hints(kind).items()}
            except Exception:  # whatever a user's annotation does when it is evaluated
                return {}
    return {}


def _members(hint: Any) -> list[Any]:
    """The members of a union, of unions inside it, too; of anything else itself."""
    while hasattr(hint, "__supertype__") or hasattr(hint, "__value__"):  # a NewType, a `type` statement
        hint = getattr(hint, "__supertype__", None) or hint.__value__
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for each in typing.get_args(hint) for member in _members(each)]
    if typing.get_origin(hint) in (typing.Annotated, typing.Final):
        return _members(typing.get_args(hint)[0])
    return [type(None) if hint is None else hint]


def _is_list(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in (*_LISTS, *_ABSTRACT_LISTS)


def _is_dict(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in _DICTS


def _is_plain(kind: Any) -> bool:
    literal = typing.get_origin(kind) is typing.Literal
    return kind in _WORDS or kind is type(None) or literal or _is_list(kind) or _is_dict(kind)


def _plain(members: list[Any]) -> bool:
    """Whether the members say anything: all are plain, or a boolean is among them.

    A tensor beside a number, as in `lr: float | Tensor`, takes nothing away: no config can hold one.
    """
    if bool in members and Any not in members:
        return True
    return all(_is_plain(kind) or _is_tensor_for_number(kind, members) for kind in members)


def _is_tensor_for_number(kind: Any, members: list[Any]) -> bool:
    is_tensor = getattr(kind, "__module__", "") == "torch" and getattr(kind, "__name__", "") == "Tensor"
    return is_tensor and not {int, float, complex}.isdisjoint(members)


def _fits(value: Any, members: list[Any]) -> bool:
    if isinstance(value, dict) and "_target_" in value:
        return True  # what it makes is not known
    return any(_fits_kind(value, kind, members) for kind in members)


def _fits_kind(value: Any, kind: Any, members: list[Any]) -> bool:
    if kind is type(None):
        return value is None
    if kind in (bool, str):
        return isinstance(value, kind)
    if kind in (int, float, complex):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if typing.get_origin(kind) is typing.Literal:
        return any(_is_choice(value, one) for one in typing.get_args(kind))
    if _is_list(kind):
        return _fits_list(value, kind)
    if _is_dict(kind):
        return isinstance(value, dict) and _fits_values(value, kind)
    if _is_tensor_for_number(kind, members):
        return False
    return not isinstance(value, str) or bool not in members or _takes_text(kind)


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether a value is this member of a Literal: 1 is not true. A member of an enumeration may be written anyhow."""
    return isinstance(choice, Enum) or (value == choice and type(value) is type(choice))


def _fits_list(value: Any, kind: Any) -> bool:
    items = [each for each in typing.get_args(kind) if each is not Ellipsis]
    if isinstance(value, str):  # is a sequence of texts in Python, but no list
        own = (typing.get_origin(kind) or kind) in _ABSTRACT_LISTS
        return own and (not items or _fits("", _members(items[0])))
    if isinstance(value, dict):  # is an iterable of its keys
        return (typing.get_origin(kind) or kind) in (abc.Iterable, abc.Collection)
    if not isinstance(value, list):
        return False
    if not items:
        return True
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in typing.get_args(kind)
    if fixed and len(items) != len(value):
        return False
    kinds = items if fixed else items[:1] * len(value)
    return all(_fits(each, _members(its)) for each, its in zip(value, kinds, strict=True))


def _fits_values(value: dict[Any, Any], kind: Any) -> bool:
    kinds = typing.get_args(kind)
    if len(kinds) != 2:
        return True
    members = _members(kinds[1])
    return not _plain(members) or all(_fits(each, members) for each in value.values())


def _takes_text(kind: Any) -> bool:
    """Whether a class is one that texts stand for: a path, an enumeration."""
    return isinstance(kind, type) and issubclass(kind, PathLike | Enum)


def _is_switch(value: Any, members: list[Any], default: Any) -> bool:
    """Whether a text that is allowed was surely meant as the boolean or the null that is allowed as well."""
    if not isinstance(value, str) or any(value in _literals(kind) for kind in members):
        return False
    nothing = value == "None" and (type(None) in members or default is None)
    return nothing or (bool in members and value.lower() in SWITCHES)


def _literals(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def _listed(value: Any) -> Any:
    """A default as a config would hold it: tuples and sets are lists."""
    return [_listed(each) for each in value] if isinstance(value, tuple | list | set | frozenset) else value


def _in_words(members: list[Any], default: Any) -> str:
    """The kinds that are allowed, null at the end."""
    odd = (type(None), Unknown)
    named = [kind for kind in members if kind not in odd and not _is_tensor_for_number(kind, members)]
    words = [_word(kind) for kind in named]
    if default is None or type(None) in members:
        words.append("null")
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _word(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if choices := _literals(kind):
        return f"one of {', '.join(yaml_str(one) for one in choices)}"
    if _is_dict(kind):
        inner = typing.get_args(kind)[1:]
        return f"a section of keys with {_PLURALS[inner[0]]}" if inner and inner[0] in _PLURALS else "a section of keys"
    if not _is_list(kind):
        return f"a {getattr(kind, '__name__', kind)}"
    items = typing.get_args(kind)
    of = f" {_PLURALS[items[0]]}" if items and items[0] in _PLURALS else " values"
    if len(items) == 1 and bool in (inside := _members(items[0])) and len(inside) > 1:
        return f"a list of values, each {_in_words(inside, NO_HINT)}"
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in items
    if fixed and items:
        return f"a list of {len(items)}{of if len(set(items)) == 1 else ' values'}"
    return f"a list of{of}" if of != " values" else "a list"


def _advice(value: Any, members: list[Any]) -> str:
    """The nearest choice; or, where only quotes are wrong, a word about these."""
    choices = [str(one) for kind in members for one in _literals(kind) if isinstance(one, str)]
    text = str in members or bool(choices)
    if isinstance(value, str):
        if not text and (said := comma_for_point(value)):
            return said
        near = did_you_mean(value, choices) if choices else ""
        quoted = not text and (value.lower() in ("true", "false", "null") or _is_number(value))
        return near if "did you mean" in near else "; leave the quotes out" if quoted else ""
    if text and isinstance(value, bool):
        return "; YAML reads on, off, yes and no as booleans: quote such a text"
    return "; quote it" if str in members and isinstance(value, int | float) else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
