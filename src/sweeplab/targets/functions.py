"""Nodes that stand for a function: one by name, or an object of a class that can be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from sweeplab.config.nodes import Node
from sweeplab.errors import UserError
from sweeplab.targets.annotations import signature
from sweeplab.targets.building import build
from sweeplab.targets.lookup import locate
from sweeplab.targets.signatures import check


def build_function(node: Node, key: str) -> Callable[..., Any]:
    """Return the function that a node names, with the node's further keys as its arguments.

    Of a class an object is made with these arguments, which has to be callable.
    """
    if isinstance(locate(node["_target_"], f"{key}._target_"), type):
        built = build(node, key)
    else:
        built = build({**node, "_partial_": True}, key)
    if not callable(built):
        made = "an object of this class cannot be called: give it a method __call__"
        raise UserError(f"{key}._target_={node['_target_']}: {made}")
    function: Callable[..., Any] = built
    return function


def check_function(node: Node, key: str, called: Sequence[str]) -> list[str]:
    """Return what is wrong with a node of a function that is called with so many arguments.

    It is judged by signatures; `called` names the arguments in the message.
    """
    names = first_arguments(node, len(called))
    if 0 < len(names) < len(called) and not takes_any_number(node):
        takes = f"takes ({', '.join(names)}), and is called with ({', '.join(called)})"
        return [f"{key}._target_={node['_target_']}: {takes}"]
    return check(node, key, names)


def first_arguments(node: Node, count: int = 1) -> list[str]:
    """Name the first arguments of the function that a node names: the caller passes these.

    A class gets all of its arguments from the node.
    """
    try:
        target = locate(node["_target_"], "_target_")
    except (UserError, KeyError, TypeError):  # the check of the node says so
        return []
    if isinstance(target, type) or not callable(target):
        return []
    known = signature(target)
    if known is None:
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, each in known.parameters.items() if each.kind in positional]
    return names[:count]


def takes_any_number(node: Node) -> bool:
    """Tell whether the function that a node names takes any number of arguments (`*args`)."""
    known = signature(locate(node["_target_"], "_target_"))
    kinds = [each.kind for each in known.parameters.values()] if known else []
    return inspect.Parameter.VAR_POSITIONAL in kinds
