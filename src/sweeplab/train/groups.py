"""Parameter groups by name: other arguments of the optimizer for some parameters, or none at all.

A pattern of shell wildcards is matched with the name of a parameter, as `0.weight`, and with its
module's class, as `BatchNorm1d.weight`; parameters of the loss are `loss.weight`. A parameter that
several patterns match gets the arguments of all, which must not contradict each other: so the order
of the patterns does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from sweeplab import targets
from sweeplab.config import Node, yaml_str
from sweeplab.errors import UserError, did_you_mean

T = TypeVar("T")
GROUPS = "groups"
"""The key of an optimizer's node that holds the patterns."""

TARGET = "_target_"

Names = tuple[str, ...]
"""What a pattern may match: a parameter's names, and its names by the class of its module."""


def named_parameters(model: nn.Module, loss: nn.Module | None = None) -> dict[Names, nn.Parameter]:
    """Return all parameters of network and loss, each once, by all their names."""
    names: dict[nn.Parameter, list[str]] = {}
    modules = [*model.named_modules(remove_duplicate=False)]
    if loss is not None:
        modules += [*loss.named_modules(prefix="loss", remove_duplicate=False)]
    for prefix, module in modules:
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            dotted = f"{prefix}.{name}" if prefix else name
            names.setdefault(parameter, []).append(dotted)
            names[parameter].append(f"{type(module).__name__}.{name}")
    return {tuple(dict.fromkeys(found)): parameter for parameter, found in names.items()}


def matches(names: Names, pattern: str) -> bool:
    """Tell whether a pattern matches one of the names of a parameter."""
    return any(fnmatchcase(name, pattern) for name in names)


def ensure_matching(patterns: Iterable[str], parameters: Iterable[Names], key: str) -> None:
    """Raise UserError for a pattern that matches no parameter."""
    known = list(parameters)
    for pattern in patterns:
        if not any(matches(names, pattern) for names in known):
            options = dict.fromkeys(name for names in known for name in names)
            raise UserError(
                f"{key}: no parameter matches {pattern}{did_you_mean(pattern, options)}"
            )


def grouped(
    node: Node, parameters: Mapping[Names, T], key: str = "optimizer"
) -> list[dict[str, Any]]:
    """Return the parameter groups of an optimizer, each with its own arguments.

    Raises UserError for a pattern that matches none, and for patterns that contradict each other.
    """
    patterns: Mapping[str, Node] = node.get(GROUPS) or {}
    if not patterns:
        return [{"params": list(parameters.values())}]
    ensure_matching(patterns, parameters, f"{key}.{GROUPS}")
    groups: dict[str, dict[str, Any]] = {}
    for names, parameter in parameters.items():
        arguments = _merged(names, patterns, f"{key}.{GROUPS}")
        group = groups.setdefault(repr(sorted(arguments.items())), {"params": [], **arguments})
        group["params"].append(parameter)
    return list(groups.values())


def _merged(names: Names, patterns: Mapping[str, Node], key: str) -> Node:
    """Merge the arguments of all patterns that match a parameter, the names sorted."""
    merged: Node = {}
    owners: dict[str, str] = {}
    for pattern in sorted(patterns):
        if not matches(names, pattern):
            continue
        for name, value in patterns[pattern].items():
            if name in merged and merged[name] != value:
                both = f"{owners[name]} ({merged[name]}) and {pattern} ({value})"
                raise UserError(f"{key}: {names[0]} is given two values of {name}, by {both}")
            merged[name], owners[name] = value, pattern
    return merged


def without_groups(node: Node) -> Node:
    """Return the node without the key that is not an argument of the optimizer."""
    return {name: value for name, value in node.items() if name != GROUPS}


def frozen(patterns: Sequence[str] | None, parameters: Iterable[Names]) -> set[Names]:
    """Return the parameters that are not trained. Raises UserError for a pattern without a match."""
    known = list(parameters)
    ensure_matching(patterns or (), known, "trainer.freeze")
    frozen_names = {
        names for names in known if any(matches(names, pattern) for pattern in patterns or ())
    }
    if known and len(frozen_names) == len(known):
        raise UserError(f"trainer.freeze={patterns}: freezes all parameters: nothing is trained")
    return frozen_names


def of_part(part: str, parameters: Mapping[Names, T]) -> dict[Names, T]:
    """Return the parameters of a part of the network, by their names in it; "" is the whole.

    Raises UserError if the network has no such part, or one without parameters.
    """
    if not part:
        return dict(parameters)
    parameters_of_part: dict[Names, T] = {}
    for names, parameter in parameters.items():
        if any(name.startswith(f"{part}.") for name in names):
            parameters_of_part[tuple(name.removeprefix(f"{part}.") for name in names)] = parameter
    if not parameters_of_part:
        parts = [name.partition(".")[0] for names in parameters for name in names[::2]]
        why = "the network has no part of this name with parameters"
        raise UserError(f"optimizer.{part}: {why}{did_you_mean(part, parts)}")
    return parameters_of_part


def problems(node: Node, key: str) -> list[str]:
    """List what is wrong with an optimizer's arguments, and with those of its groups."""
    if not isinstance(node, dict):
        return targets.check(node, key)
    own, patterns = without_groups(node), node.get(GROUPS)
    found = _parts_beside_whole(own, key) or targets.check(own, key, ["params"])
    if found or patterns is None:
        return found
    wanted = "a section of patterns is needed, as in {*.bias: {weight_decay: 0}}"
    if not isinstance(patterns, dict):
        return [f"{key}.{GROUPS}={yaml_str(patterns)}: {wanted}"]
    for pattern, arguments in patterns.items():
        place = f"{key}.{GROUPS}.{pattern}"
        if not isinstance(arguments, dict):
            found.append(f"{place}={yaml_str(arguments)}: {wanted}")
        elif "_target_" in arguments:
            why = "a group has other arguments, not another class"
            found.append(f"{place}._target_={arguments['_target_']}: {why}")
        else:
            called = {"_target_": own["_target_"], "_partial_": True, **arguments}
            found += targets.check(called, place, ["params"])
    return found


def _parts_beside_whole(node: Node, key: str) -> list[str]:
    """List optimizers of parts that stand beside the arguments of one for the whole network."""
    parts = [name for name, value in node.items() if isinstance(value, dict) and TARGET in value]
    if not parts or not isinstance(node.get(TARGET), str):
        return []
    advice = (
        "is for a part, but there is an optimizer of the whole network; ~optimizer leaves it out"
    )
    return [f"{key}.{part}: {advice}" for part in parts if not targets.accepts(node[TARGET], part)]
