"""Leave out the arguments that make no difference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sweeplab.errors import UserError
from sweeplab.targets.annotations import argument
from sweeplab.targets.lookup import locate

HYDRA_DEFAULTS: dict[str, Any] = {
    "_args_": [],
    "_partial_": False,
    "_recursive_": True,
    "_convert_": "all",
}
"""Hydra's own keys, each with the value that it has if a node leaves it out."""


def without_defaults(node: Any) -> Any:
    """Return the node without the arguments that make no difference, at every depth.

    These are null if that is the argument's default, an empty section if the default is null or
    empty, and keys of Hydra's with the value that they have anyway. An argument that is only taken
    by `**kwargs` always makes a difference, unless its default is found where they go.
    """
    if isinstance(node, list):
        return [without_defaults(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    inner = {key: without_defaults(value) for key, value in node.items()}
    path = inner.get("_target_")
    if not isinstance(path, str):
        return inner
    try:
        target = locate(path, "_target_")
    except UserError:
        target = None
    return {key: value for key, value in inner.items() if not _is_default(target, key, value)}


def _is_default(target: Any, name: str, value: Any) -> bool:
    if name in HYDRA_DEFAULTS:
        return bool(value == HYDRA_DEFAULTS[name])
    if not callable(target) or (value is not None and value != {}):
        return False
    known = default(target, name)
    return known is None or (value == {} and isinstance(known, Mapping) and not known)


def is_optional(target: Callable[..., object], name: str) -> bool:
    """Whether an argument is null if it is left out."""
    return default(target, name) is None


def default(target: Callable[..., object], name: str) -> Any:
    """Return the default of an argument; `empty` if it has none, or nothing says which."""
    known = argument(target, name)
    return known.default if known else inspect.Parameter.empty
