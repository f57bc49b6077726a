"""The arguments of a node, checked against the signature of what it calls; nothing is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from sweeplab.config.nodes import HYDRA_KEYS, as_plain, children
from sweeplab.config.text import brief
from sweeplab.errors import UserError, did_you_mean
from sweeplab.targets.annotations import NAMED, argument, signature
from sweeplab.targets.lookup import locate
from sweeplab.targets.values import Argument, fields, problem


def check(node: object, key: str, supplied: Sequence[str] | int = ()) -> list[str]:
    """All that is wrong with a node and the nodes inside it, judged by signatures alone; nothing is called.

    `supplied` are the arguments that sweeplab passes itself: their names, or how many leading positional ones.
    """
    plain = as_plain(node)
    if not isinstance(plain, dict):
        return [f"{key}={brief(plain)}: must be a node with a _target_"]
    if "_target_" not in plain:
        return [f"{key}._target_: is missing; give the dotted name of a class, such as torch.nn.Linear"]
    problems: list[str] = []
    for at, sub in _called(plain, key):
        problems += _node_problems(sub, at, supplied if sub is plain else ())
    return problems


def _called(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes that Hydra itself calls: those under `_recursive_: false` are left to the class that gets them."""
    is_node = isinstance(value, dict) and "_target_" in value
    if is_node:
        yield key, value
    if not (is_node and value.get("_recursive_") is False):
        for at, item in children(value, key):
            yield from _called(item, at)


def _node_problems(node: dict[str, Any], key: str, supplied: Sequence[str] | int) -> list[str]:
    path = node["_target_"]
    if not isinstance(path, str):
        return [f"{key}._target_={brief(path)}: must be the dotted name of a class"]
    try:
        found = locate(path, f"{key}._target_")
    except UserError as error:
        return [str(error)]
    if not callable(found):
        return [f"{key}._target_={path}: is a {type(found).__name__}, not a class{_classes_in(found)}"]
    known = signature(found)
    if known is None:
        return []
    return _argument_problems(node, key, found, known, supplied)


def _classes_in(module: object) -> str:
    """For `torch.optim.sgd`, where `torch.optim.sgd.SGD` was meant."""
    if not isinstance(module, ModuleType):
        return ""
    own = [value for value in vars(module).values() if isinstance(value, type)]
    return did_you_mean(
        "", [f"{each.__module__}.{each.__name__}" for each in own if each.__module__ == module.__name__]
    )


def _argument_problems(
    node: dict[str, Any],
    key: str,
    target: Callable[..., object],
    known: inspect.Signature,
    supplied: Sequence[str] | int,
) -> list[str]:
    path, parameters = node["_target_"], list(known.parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind in NAMED]
    kinds = {p.kind for p in parameters}
    count = supplied if isinstance(supplied, int) else 0
    ours = set(positional[:count] if isinstance(supplied, int) else supplied)
    listed = node.get("_args_") or []
    if not isinstance(listed, list):
        return [f"{key}._args_={brief(listed)}: must be a list"]
    taken = ours | set(positional[: len(listed)])
    given = {name: value for name, value in node.items() if name not in HYDRA_KEYS}

    problems = []
    if listed and count:  # Hydra would drop them without a word
        problems.append(f"{key}._args_={brief(listed)}: sweeplab passes the positional arguments of {path} itself")
    if inspect.Parameter.VAR_POSITIONAL not in kinds and max(len(listed), count) > len(positional):
        problems.append(
            f"{key}._target_={path}: takes {len(positional)} positional arguments, not {len(listed) or count}"
        )
    for name, value in given.items():
        said = f"{key}.{name}={brief(value)}"
        if name in taken:
            problems.append(f"{said}: {'sweeplab itself' if name in ours else '_args_'} gives {path} its '{name}'")
        elif name not in named and inspect.Parameter.VAR_KEYWORD not in kinds:
            hint = did_you_mean(name, [each for each in named if each not in taken])
            problems.append(f"{said}: {path} has no argument '{name}'{hint}")
        elif value == "???":
            problems.append(f"{said}: must be given")
        else:
            problems += _value_problem(f"{key}.{name}", value, target, name)
    for index, (name, value) in enumerate(zip(positional, [] if count else listed, strict=False)):
        problems += _value_problem(f"{key}._args_[{index}]", value, target, name)
    if not node.get("_partial_"):
        problems += [f"{key}.{name}: is missing; {path} needs it" for name in _required(parameters, {*taken, *given})]
    return problems


def _value_problem(key: str, value: Any, target: Callable[..., object], name: str) -> list[str]:
    """What is wrong with the value of an argument, judged by its annotation and its default."""
    known = argument(target, name)
    return _problems_of(key, value, known) if known else []


def _problems_of(key: str, value: Any, known: Argument) -> list[str]:
    if said := problem(value, known):
        return [f"{key}={brief(value)}: {said}"]
    if not isinstance(value, dict) or "_target_" in value:
        return []
    known_fields = fields(known.hint)
    given = [(name, item) for name, item in value.items() if name in known_fields]
    return [said for name, item in given for said in _problems_of(f"{key}.{name}", item, known_fields[name])]


def _required(parameters: Iterable[inspect.Parameter], present: set[str]) -> list[str]:
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [p.name for p in needed if p.name not in present]


def accepts(target: str | Callable[..., object], name: str) -> bool:
    """Whether `target`, a dotted name or the thing itself, has a parameter of that name (`**kwargs` is none)."""
    found = locate(target, "_target_") if isinstance(target, str) else target
    known = signature(found) if callable(found) else None
    return known is not None and name in known.parameters
