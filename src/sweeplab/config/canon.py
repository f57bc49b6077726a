"""A config as plain data: whole, in its canonical form, and flattened to dotted keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sweeplab.config.sections import COMPONENTS, Config, as_node

EXECUTION_KEYS = frozenset(
    {"device", "threads", "deterministic", "progress", "keep_every", "checkpoint_every"}
)
"""Trainer keys that say how a run is computed and kept, not what: recorded, not hashed."""

NOT_HASHED = frozenset({"name", "dataset", "root", "workers", "memory"})
"""Data keys that are recorded, not hashed: the digest of the examples stands for them."""


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain nested data; `parse` of it gives the same config."""
    plain = asdict(config) | {"sweep": as_node(config.sweep)}
    if not config.step:
        del plain["step"]
    return plain


def canonical(config: Config) -> dict[str, Any]:
    """Return what a run is asked to compute, and nothing else: equal for configs that must give the
    same numbers.

    Equal numbers are the same number (`lr=1` and `lr=1.0`), and `auto` is resolved. What is off
    (null) is left out, so that a later key, off by default, leaves the fingerprints as they are.
    """
    trainer = asdict(config.trainer)
    trainer["monitor"] = config.monitor
    trainer["mode"] = config.mode
    trainer["scheduler_interval"] = config.interval
    plain = {name: getattr(config, name) for name in (*COMPONENTS, "metrics", "seed")}
    if config.step:
        plain["step"] = config.step
    plain["trainer"] = _without(trainer, EXECUTION_KEYS)
    plain["data"] = _without(asdict(config.data), NOT_HASHED)
    normal = normalize(plain)
    assert isinstance(normal, dict)
    return normal


def _without(section: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    """Return the keys of a section that are set (not null), without `keys`."""
    return {key: value for key, value in section.items() if key not in keys and value is not None}


def normalize(value: Any) -> Any:
    """Return plain data in which equal values look equal: `1.0` is `1`, a tuple is a list, keys are
    sorted.
    """
    if isinstance(value, Mapping):
        by_name = {str(key): item for key, item in value.items()}
        return {name: normalize(by_name[name]) for name in sorted(by_name)}
    if isinstance(value, list | tuple):
        return [normalize(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten `{"model": {"hidden": 392}}` to `{"model.hidden": 392}`; lists and empty sections
    stay whole.
    """
    result: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            result |= flatten(value, f"{name}.")
        else:
            result[sys.intern(name)] = value
    return result
