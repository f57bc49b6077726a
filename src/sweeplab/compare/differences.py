"""Two runs side by side: in what their config, code, data and environment differ, and what came out of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeplab import config, console
from sweeplab.compare import runs
from sweeplab.compare.computation import DATA_DIGEST, DIGITS, computation
from sweeplab.compare.export import json_text
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.store import Run

Pair = tuple[Any, Any]
SECTIONS = ("config", "code", "data", "environment", "result")


def differences(first: Run, second: Run) -> dict[str, dict[str, Pair]]:
    """Section -> key -> the two values, of what differs; None where a run has no such key.

    Where things lie is left out; how they were computed is in the environment. Raises UserError for a run that was
    never started.
    """
    one, other = _facts(first), _facts(second)
    if one["data"].get("digest") == other["data"].get("digest"):  # the same examples, wherever they come from
        one["config"], other["config"] = _without_set(one["config"]), _without_set(other["config"])
    return {section: _differing(one[section], other[section]) for section in SECTIONS}


def _without_set(asked: Node) -> Node:
    return {k: v for k, v in asked.items() if k != "data.name" and not k.startswith("data.dataset.")}


def _differing(one: Node, other: Node) -> dict[str, Pair]:
    pairs = {key: (one.get(key), other.get(key)) for key in {**one, **other}}
    return {key: (a, b) for key, (a, b) in pairs.items() if a != b and config.to_text(a) != config.to_text(b)}


def _facts(run: Run) -> dict[str, Node]:
    replica = runs.read_run(run)
    start = replica.start
    if replica.status == runs.DAMAGED:
        raise UserError(str(replica.error))
    if not start:
        raise UserError(f"{run.folder}: has no start in its journal; nothing is known of what it was asked")
    asked = computation(start, over=())
    code = {key.removeprefix("code."): asked.pop(key) for key in list(asked) if key.startswith("code.")}
    asked.pop(DATA_DIGEST)
    deterministic = start["config"].get("trainer", {}).get("deterministic")
    return {
        "config": asked,
        "code": code if "code" in start else {"(not recorded)": start["fingerprint"][:DIGITS]},
        "data": dict(start.get("data", {})),
        "environment": config.flatten(start.get("provenance", {})) | {"deterministic": deterministic},
        "result": {"status": replica.status, "stop_reason": replica.stop_reason, **replica.metrics},
    }


def show(found: Mapping[str, Mapping[str, Pair]], names: Pair) -> None:
    """A table for each section in which they differ, and a line for each in which they do not."""
    same = [section for section, pairs in found.items() if not pairs]
    for section, pairs in found.items():
        rows = [(key, *(_text(value) for value in pair)) for key, pair in pairs.items()]
        if rows:
            console.table(section, ("", *names), rows, left=3)
    if same:
        console.say(f"no difference in: {', '.join(same)}")


def _text(value: Any) -> str:
    return "-" if value is None else config.to_text(value)


def as_json(found: Mapping[str, Mapping[str, Pair]]) -> str:
    return json_text(found)
