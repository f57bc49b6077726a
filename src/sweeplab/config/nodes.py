"""Nodes of a config as plain data, and walks over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeplab.config.explanation import omegaconf_message
from sweeplab.errors import UserError

Node = dict[str, Any]
HYDRA_KEYS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
"""The keys of a node that are Hydra's; all others are arguments."""


def as_plain(value: Any, *, resolve: bool = True) -> Any:
    """Convert to dicts, lists and scalars, with every interpolation resolved.

    Without `resolve` interpolations stay as they were written, and a part of a config is replaced
    by the whole of it, since an interpolation may refer to anything in it.
    """
    if isinstance(value, dict):
        return {key: as_plain(item, resolve=resolve) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item, resolve=resolve) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not OmegaConf.is_config(value):
        return value
    if not resolve:
        return OmegaConf.to_container(value._get_root())
    try:
        return OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(omegaconf_message(error)) from error


def arguments(node: Node) -> Node:
    """Return the keys of a node that are no keys of Hydra's."""
    return {name: value for name, value in node.items() if name not in HYDRA_KEYS}


def flat_parts(section: Any) -> Any:
    """Name nested parts of the network by dotted names: {net: {head: ...}} is {"net.head": ...}.

    Anything but a section of parts, each a node with a `_target_`, stays as it is.
    """
    if not isinstance(section, dict) or "_target_" in section:
        return section
    parts: Node = {}
    for name, own in section.items():
        if _has_parts(own):
            inner = flat_parts(own)
            parts |= {f"{name}.{part}": node for part, node in inner.items()}
        else:
            parts[name] = own
    return parts


def _has_parts(node: Any) -> bool:
    """Tell whether a part has parts of its own, and no optimizer for the whole of it."""
    if not isinstance(node, dict) or not node or "_target_" in node:
        return False
    return all(isinstance(own, dict) for own in node.values())


def children(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the items of a dict or a list with their dotted keys."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{key}.{name}" if key else str(name), item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield f"{key}[{index}]", item


def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the value and everything in it, the outermost first, with dotted keys."""
    yield key, value
    for child_key, child in children(value, key):
        yield from walk(child, child_key)


def strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield every string that is a value, at any depth, with its dotted key."""
    for at, item in walk(value, key):
        if isinstance(item, str):
            yield at, item


def targeted(value: Any, key: str) -> Iterator[tuple[str, Node]]:
    """Yield every dict with a `_target_`, the outermost first, with its dotted key."""
    for at, item in walk(value, key):
        if isinstance(item, dict) and "_target_" in item:
            yield at, item


def class_paths(node: object) -> list[str]:
    """Return all `_target_`s, at every depth, in the order of the config."""
    paths = [inner["_target_"] for _, inner in targeted(as_plain(node), "")]
    return [path for path in paths if isinstance(path, str)]


def string_arguments(node: object, key: str) -> dict[str, str]:
    """Return all strings that are arguments, at every depth, by their dotted keys."""
    texts = strings(as_plain(node), key)
    return {at: text for at, text in texts if at.rpartition(".")[2] not in HYDRA_KEYS}
