"""Check the value of an argument against its annotation and its default, where these are plain."""

from __future__ import annotations

import typing
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum
from os import PathLike
from typing import Any

from sweeplab.errors import comma_for_point, nearest
from sweeplab.targets.kinds import (
    ABSTRACT_LISTS,
    NO_HINT,
    all_plain,
    base,
    in_words,
    is_dict,
    is_list,
    is_tensor_for_number,
    kinds_of,
    literals,
)

SWITCHES = frozenset(
    ["on", "off", "yes", "no", "y", "n", "t", "f", "true", "false", "none", "null", "~"]
)
"""Words that stand for a boolean or for null, but are texts to Hydra."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What is known of an argument; NO_HINT stands for no annotation, and for no default."""

    hint: Any
    default: Any


def problem(value: Any, argument: Argument) -> str:
    """Say what the value must be (`must be true or false`); '' if nothing speaks against it."""
    kinds = kinds_of(argument.hint)
    default = argument.default
    if default is not NO_HINT and default is not None and not _fits(_as_lists(default), kinds):
        kinds = [Any]  # an annotation that its own default contradicts tells nothing
    if not all_plain(kinds):
        return _problem_by_default(value, argument)
    if value is None and default is None:
        return ""
    if _fits(value, kinds) and not _is_switch(value, kinds, default):
        return ""
    return f"must be {in_words(kinds, default)}{_advice(value, kinds)}"


def _problem_by_default(value: Any, argument: Argument) -> str:
    """Judge by the default alone: a text is no boolean, and one of SWITCHES is no number."""
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
    for kind in kinds_of(hint):
        if typing.is_typeddict(kind) or (isinstance(kind, type) and is_dataclass(kind)):
            try:
                hints = typing.get_type_hints(kind)
            except Exception:  # whatever a user's annotation does when it is evaluated
                return {}
            return {name: Argument(hint, NO_HINT) for name, hint in hints.items()}
    return {}


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
    if base(kind) is typing.Literal:
        return any(_is_choice(value, choice) for choice in typing.get_args(kind))
    if is_list(kind):
        return _fits_list(value, kind)
    if is_dict(kind):
        return isinstance(value, dict) and _fits_dict(value, kind)
    if is_tensor_for_number(kind, kinds):
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
        return base(kind) in ABSTRACT_LISTS and (not items or _fits("", kinds_of(items[0])))
    if isinstance(value, dict):  # is an iterable of its keys
        return base(kind) in (abc.Iterable, abc.Collection)
    if not isinstance(value, list):
        return False
    if not items:
        return True
    if base(kind) is not tuple or Ellipsis in arguments:
        item_kinds = kinds_of(items[0])
        return all(_fits(item, item_kinds) for item in value)
    if len(items) != len(value):
        return False
    return all(_fits(item, kinds_of(hint)) for item, hint in zip(value, items, strict=True))


def _fits_dict(value: dict[Any, Any], kind: Any) -> bool:
    arguments = typing.get_args(kind)
    if len(arguments) != 2:
        return True
    kinds = kinds_of(arguments[1])
    return not all_plain(kinds) or all(_fits(item, kinds) for item in value.values())


def _takes_text(kind: Any) -> bool:
    """Whether texts stand for the objects of a class: a path, an enumeration."""
    return isinstance(kind, type) and issubclass(kind, PathLike | Enum)


def _is_switch(value: Any, kinds: list[Any], default: Any) -> bool:
    """Whether a text that is allowed was surely meant as the boolean or the null that is allowed as
    well.
    """
    if not isinstance(value, str) or any(value in literals(kind) for kind in kinds):
        return False
    if value == "None" and (type(None) in kinds or default is None):
        return True
    return bool in kinds and value.lower() in SWITCHES


def _as_lists(value: Any) -> Any:
    """Return a default as a config would hold it: tuples and sets are lists."""
    if isinstance(value, tuple | list | set | frozenset):
        return [_as_lists(item) for item in value]
    return value


def _advice(value: Any, kinds: list[Any]) -> str:
    """Return the nearest choice; or, if only quotes are wrong, advice about these."""
    choices: list[str] = []
    for kind in kinds:
        choices += [choice for choice in literals(kind) if isinstance(choice, str)]
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
