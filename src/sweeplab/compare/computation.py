"""What a run is asked to compute, flat: by its record, or by its overrides before it has one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sweeplab import config, metrics
from sweeplab.compare.runs import SEED, planned
from sweeplab.config import Node

PLACES = ("store.", "tracking.", "sweep.", "hydra.")
HOW = {f"trainer.{key}" for key in config.EXECUTION_KEYS}
HOW |= {"data.root", "data.workers", "data.memory"}
INIT_FROM, WEIGHTS, DATA_DIGEST = "trainer.init_from", "trainer.init_from (weights)", "data.digest"
DIGITS = 12  # of a digest, where it is shown as a value


def computation(start: Node, over: Sequence[str] = (SEED,)) -> Node:
    """Flatten what a run computes, without the keys of `over`, with digests of data and code.

    The name of the data set is there for people: the digest of its examples tells runs apart.
    """
    values = {key: value for key, value in _data_set(start).items() if key not in over}
    values |= _config(start, over)
    values |= {name: digest[:DIGITS] for name, digest in _digests(start, over).items()}
    # There it is the digest of the weights, which gets a key of its own.
    if "asked" in start and INIT_FROM in values:
        values[WEIGHTS] = str(values.pop(INIT_FROM))[:DIGITS]
        name = start.get("config", {}).get("trainer", {}).get("init_from")
        if name:
            values[INIT_FROM] = name
    return values


def group_key(start: Node, over: Sequence[str]) -> str:
    """Write what all runs of a group have in common as one text."""
    values = _config(start, over)
    if "asked" not in start:  # of an earlier version: null may say nothing there
        values = {key: value for key, value in values.items() if value is not None}
    return json.dumps([values, _digests(start, over)], sort_keys=True)


def manifest_entry(outline: Node, over: Sequence[str], varied: Mapping[str, str]) -> Node:
    """Describe a job for the manifest of its sweep.

    The entry has a digest of its group, its values of the keys of `over`, and its values of the
    `varied` keys. A varied key that is no part of what is computed keeps the text that was typed.
    """
    values = computation(outline, over)
    shown = {}
    for key, typed in _flat_values(varied.items()).items():
        if _is_computed(key) and key not in over:
            shown[key] = config.to_text(values.get(key, typed))
    if WEIGHTS in values:
        shown[WEIGHTS] = values[WEIGHTS]
    run = planned({"fingerprint": "", "overrides": []}, outline)
    return {
        "group": hashlib.sha256(group_key(outline, over).encode()).hexdigest(),
        "replica": {key: run.value(key) for key in over},
        "values": shown,
    }


def cell_values(cell: Mapping[str, Any]) -> dict[str, str]:
    """Collect what a cell of a sweep was given to compute, in YAML's spelling.

    Where the sweep says to which value an override came (`model.hidden=${data.in_features}`: 784),
    that value.
    """
    over = cell.get("replica", (SEED,))
    texts: dict[str, str] = {}
    for override in cell["overrides"]:
        texts |= _flat_texts(override)
    left_out = {*over, "tracking", "store"}
    values = {key: text for key, text in texts.items() if _is_computed(key) and key not in left_out}
    return {**values, **cell.get("values", {})}


@lru_cache(maxsize=4096)  # the runs of a sweep repeat a few overrides
def _flat_texts(override: str) -> dict[str, str]:
    """Write what an override sets in YAML's spelling, key by key."""
    key, _, text = override.partition("=")
    values = _flat_values([(key, text)])
    return {key: config.to_text(value) for key, value in values.items()}


def _config(start: Node, over: Sequence[str]) -> Node:
    """Flatten the config as it is fingerprinted; of a record without that, all that could matter."""
    if "asked" in start:
        flat = config.flatten(start["asked"])
        return {key: value for key, value in flat.items() if key not in over}
    flat = config.flatten(config.normalize(start["config"]))
    monitor, mode = metrics.watched(start)
    flat |= {"trainer.monitor": monitor, "trainer.mode": mode}
    return {
        key: value
        for key, value in flat.items()
        if _is_computed(key) and key not in over and value != {}
    }


def _data_set(start: Node) -> Node:
    """Flatten the name of the data set and what it is built of."""
    data = start.get("config", {}).get("data", {})
    named = {key: data[key] for key in ("name", "dataset") if data.get(key)}
    return config.flatten({"data": named})


def _digests(start: Node, over: Sequence[str]) -> dict[str, str]:
    """Collect the digests of the code, piece by piece, and of the examples.

    Runs that are replicated over an argument of the data set have other examples each.
    """
    digests = {f"code.{name}": str(digest) for name, digest in (start.get("code") or {}).items()}
    if not any(key.startswith("data.dataset.") for key in over):
        digests[DATA_DIGEST] = str(start.get("data", {}).get("digest", ""))
    return digests


def _is_computed(key: str) -> bool:
    return key not in HOW and not key.startswith(PLACES)


def _flat_values(typed: Iterable[tuple[str, str]]) -> Node:
    """Parse the texts of keys.

    A section of keys, `model={hidden:8}`, is its keys; a list of one choice, `model=[mlp]`, is that
    choice.
    """
    values: Node = {}
    for key, text in typed:
        key, value = key.lstrip("+~"), config.from_text(text)
        if "." not in key and isinstance(value, list) and len(value) == 1:
            value = value[0]
        values |= config.flatten({key: value})
    return values
