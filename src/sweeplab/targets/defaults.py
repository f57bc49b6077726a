"""Arguments that say nothing: left out, they make no difference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sweeplab.errors import UserError
from sweeplab.targets.annotations import NAMED, argument, signature
from sweeplab.targets.lookup import locate

HYDRAS: dict[str, Any] = {"_args_": [], "_partial_": False, "_recursive_": True, "_convert_": "all"}
"""Hydra's own keys, each with the value that it has where a node leaves it out."""


def without_silent(node: Any) -> Any:
    """The node without the arguments that say nothing, at every depth.

    These are null where that is the argument's default, an empty section where the default is null or empty, and keys
    of Hydra's with the value that they have anyway. An argument that is only taken by `**kwargs` always says something,
    unless its default is found where they go.
    """
    if isinstance(node, list):
        return [without_silent(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    inner = {key: without_silent(value) for key, value in node.items()}
    if not isinstance(inner.get("_target_"), str):
        return inner
    target = _located(inner["_target_"])
    return {key: value for key, value in inner.items() if not _is_silent(target, key, value)}


def _located(path: str) -> Any:
    try:
        return locate(path, "_target_")
    except UserError:
        return None


def _is_silent(target: Any, name: str, value: Any) -> bool:
    if name in HYDRAS:
        return bool(value == HYDRAS[name])
    if value is not None and value != {}:
        return False
    default = _default(target, name) if callable(target) else inspect.Parameter.empty
    return default is None or (value == {} and isinstance(default, Mapping) and not default)


def is_optional(target: Callable[..., object], name: str) -> bool:
    """Whether an argument is null where it is left out."""
    return _default(target, name) is None


def _default(target: Callable[..., object], name: str) -> Any:
    """The default of an argument; `empty` where it has none, or nothing says which."""
    known = signature(target)
    own = known.parameters.get(name) if known else None
    if own is not None and own.kind in NAMED:
        return own.default
    found = argument(target, name)
    return found.default if found else inspect.Parameter.empty
