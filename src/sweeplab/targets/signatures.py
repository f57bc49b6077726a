"""Check the arguments of a node against the signature of what it calls; nothing is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from sweeplab.config.nodes import Node, arguments, as_plain, children
from sweeplab.config.slips import meant, target_meant
from sweeplab.config.text import brief
from sweeplab.errors import UserError, a_or_an, did_you_mean
from sweeplab.targets.annotations import NAMED, argument, signature
from sweeplab.targets.lookup import locate
from sweeplab.targets.values import Argument, fields, problem

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check(node: object, key: str, supplied: Sequence[str] = ()) -> list[str]:
    """Return all that is wrong with a node and the nodes inside it, judged by signatures alone.

    `supplied` are the names of the arguments that sweeplab passes itself.
    """
    plain = as_plain(node)
    if not isinstance(plain, dict):
        return [f"{key}={brief(plain)}: must be a node with a _target_{target_meant(key, plain)}"]
    if "_target_" not in plain:
        advice = "give the dotted name of a class, such as torch.nn.Linear"
        return [f"{key}._target_: is missing; {advice}"]
    problems: list[str] = []
    for node_key, inner in _called(plain, key):
        problems += _node_problems(inner, node_key, supplied if inner is plain else ())
    return problems


def _called(value: Any, key: str) -> Iterator[tuple[str, Node]]:
    """Yield the nodes that Hydra calls itself, and not those below `_recursive_: false`."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
        if value.get("_recursive_") is False:
            return
    for child_key, child in children(value, key):
        yield from _called(child, child_key)


def _node_problems(node: Node, key: str, supplied: Sequence[str]) -> list[str]:
    path = node["_target_"]
    if not isinstance(path, str):
        return [
            f"{key}._target_={brief(path)}: must be the dotted name of a class, such as torch.nn.Linear"
        ]
    try:
        target = locate(path, f"{key}._target_")
    except UserError as error:
        return [str(error)]
    is_made = hasattr(target, "state_dict") and not isinstance(target, type)
    if is_made or not callable(target):
        kind = type(target).__name__
        advice = "; name a function that makes it" if is_made else _classes_in(target)
        return [f"{key}._target_={path}: is {a_or_an(kind)}, not a class{advice}"]
    known = signature(target)
    if known is None:
        return []
    return _argument_problems(node, key, target, known.parameters.values(), supplied)


def _argument_problems(
    node: Node,
    key: str,
    target: Callable[..., object],
    parameters: Iterable[inspect.Parameter],
    supplied: Sequence[str],
) -> list[str]:
    path = node["_target_"]
    listed = node.get("_args_") or []
    if not isinstance(listed, list):
        return [f"{key}._args_={brief(listed)}: must be a list"]
    positional = [p.name for p in parameters if p.kind in POSITIONAL]
    takes_any_number = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    problems: list[str] = []
    if len(listed) > len(positional) and not takes_any_number:
        count = f"{len(positional)} positional arguments, not {len(listed)}"
        problems.append(f"{key}._target_={path}: takes {count}")
    for index, (name, value) in enumerate(zip(positional, listed, strict=False)):
        problems += _value_problems(f"{key}._args_[{index}]", value, argument(target, name))
    givers = dict.fromkeys(positional[: len(listed)], "_args_")
    givers |= dict.fromkeys(supplied, "sweeplab itself")
    return problems + _named_problems(node, key, target, parameters, givers)


def _classes_in(module: object) -> str:
    """Suggest `torch.optim.sgd.SGD` for `torch.optim.sgd`."""
    if not isinstance(module, ModuleType):
        return ""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    own = [cls for cls in classes if cls.__module__ == module.__name__]
    return did_you_mean("", [f"{cls.__module__}.{cls.__name__}" for cls in own])


def _named_problems(
    node: Node,
    key: str,
    target: Callable[..., object],
    parameters: Iterable[inspect.Parameter],
    givers: Mapping[str, str],
) -> list[str]:
    """Judge the named arguments; `givers` says of a parameter who passes it anyway."""
    path, given = node["_target_"], arguments(node)
    named = [p.name for p in parameters if p.kind in NAMED]
    takes_any_name = any(p.kind == p.VAR_KEYWORD for p in parameters)
    problems: list[str] = []
    unknown = [] if takes_any_name else [name for name in given if name not in {*named, *givers}]
    if key == "model" and {"in_features", "out_features"} <= set(unknown):  # the option gives them
        names = ", ".join(f"'{name}'" for name in unknown)
        problems.append(f"{key}._target_={path}: has no arguments {names}{meant(f'{key}={path}')}")
        given, unknown = {name: given[name] for name in given if name not in unknown}, []
    for name, value in given.items():
        setting = f"{key}.{name}={brief(value)}"
        if name in givers:
            problems.append(f"{setting}: {givers[name]} gives {path} its '{name}'")
        elif name in unknown:
            free = [candidate for candidate in named if candidate not in givers]
            problems.append(f"{setting}: {path} has no argument '{name}'{did_you_mean(name, free)}")
        elif value == "???":
            problems.append(f"{setting}: must be given")
        else:
            problems += _value_problems(f"{key}.{name}", value, argument(target, name))
    if not node.get("_partial_"):
        for name in _required(parameters):
            if name not in givers and name not in given:
                problems.append(f"{key}.{name}: is missing; {path} needs it: +{key}.{name}=VALUE")
    return problems


def _required(parameters: Iterable[inspect.Parameter]) -> list[str]:
    without_default = [p for p in parameters if p.default is p.empty]
    return [p.name for p in without_default if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _value_problems(key: str, value: Any, known: Argument | None) -> list[str]:
    """Judge the value of an argument, or of a field inside it, by its annotation and its
    default.
    """
    if known is None:
        return []
    if wrong := problem(value, known):
        return [f"{key}={brief(value)}: {wrong}"]
    if not isinstance(value, dict) or "_target_" in value:
        return []
    known_fields = fields(known.hint)
    problems: list[str] = []
    for name, item in value.items():
        problems += _value_problems(f"{key}.{name}", item, known_fields.get(name))
    return problems


def accepts(target: str | Callable[..., object], name: str) -> bool:
    """Whether `target`, a dotted name or the thing itself, has a parameter of that name (`**kwargs`
    is none).
    """
    if isinstance(target, str):
        located = locate(target, "_target_")
        return callable(located) and accepts(located, name)
    if not callable(target):
        return False
    known = signature(target)
    return known is not None and name in known.parameters
