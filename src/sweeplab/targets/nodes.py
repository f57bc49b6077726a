"""Config nodes as plain values, and a value as one would type it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sweeplab.errors import UserError

SPECIAL = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})


def as_plain(value: Any, *, resolve: bool = True) -> Any:
    """Dicts, lists and scalars only, with every interpolation resolved.

    Without `resolve` all is as it was written, and a part of a config stands for the whole of it: what it refers to may
    be anywhere.
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
    try:
        return OmegaConf.to_container(value if resolve else value._get_root(), resolve=resolve)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def children(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{key}.{name}" if key else str(name), item) for name, item in value.items())
    elif isinstance(value, list):
        yield from ((f"{key}[{index}]", item) for index, item in enumerate(value))


def leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield key, value
    for at, item in children(value, key):
        yield from leaves(item, at)


def targeted(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict with a `_target_`, the outermost first, with its dotted key."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
    for at, item in children(value, key):
        yield from targeted(item, at)


def targets(node: object) -> list[str]:
    """All `_target_`s, at every depth, in the order of the config."""
    return [sub["_target_"] for _, sub in targeted(as_plain(node), "") if isinstance(sub["_target_"], str)]


def words(node: object, key: str) -> dict[str, str]:
    """All strings that are arguments, at every depth, by their dotted keys."""
    found = ((at, value) for at, value in leaves(as_plain(node), key) if isinstance(value, str))
    return {at: value for at, value in found if at.rpartition(".")[2] not in SPECIAL}


def is_dotted(path: str) -> bool:
    return all(name.isidentifier() for name in path.split("."))


def show(value: object) -> str:
    """`value` as one would type it on the command line: one line, at most 60 printable characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error: BaseException) -> str:
    """What `error` says, on one line; its type too where the message alone tells little."""
    text = " ".join(str(error).split())
    if text and isinstance(error, ValueError | TypeError | RuntimeError | AssertionError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
