"""A config as plain data again: whole, as what a fingerprint is made of, and as dotted keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sweeplab.config.sections import COMPONENTS, Config
from sweeplab.config.text import normal

HOW = frozenset({"device", "threads", "deterministic", "progress"})
"""Trainer keys that say how a run is computed, not what: recorded, not hashed."""


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested data; `parse` of it gives the same config."""
    return asdict(config)


def canonical(config: Config) -> dict[str, Any]:
    """What a run is asked to compute, and nothing else: equal for configs that must give the same numbers.

    Numbers that are equal are the same number (`lr=1` and `lr=1.0`); `auto` is resolved; where things lie and how
    they are computed is left out. What is off (null) is left out, too, so that a later key, off by default, leaves the
    fingerprints as they are. The examples themselves enter a fingerprint by the data digest.
    """
    trainer = {k: v for k, v in asdict(config.trainer).items() if k not in HOW}
    trainer |= {"monitor": config.monitor, "mode": config.mode, "scheduler_interval": config.interval}
    data = {k: v for k, v in asdict(config.data).items() if k not in ("name", "dataset", "root", "workers", "memory")}
    parts = {name: getattr(config, name) for name in (*COMPONENTS, "metrics", "seed")}
    sections = {"trainer": trainer, "data": data}
    on = {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}
    plain = normal({**parts, **on})
    assert isinstance(plain, dict)
    return plain


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"hidden": 392}}` -> `{"model.hidden": 392}`; lists and empty sections stay whole."""
    result: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {sys.intern(name): value}
    return result
