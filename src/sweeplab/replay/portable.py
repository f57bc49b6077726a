"""What of a record is handed on: nothing that says where its machine reads, writes or sends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplab import config
from sweeplab.config import Node
from sweeplab.store import Event, Line, Status

LOCAL = ("store", "tracking", "hydra", "data.root", "sweep.then", "sweep.detach")
"""Keys, and sections of them, that are about the machine of who typed them.

`sweep.then` and `sweep.detach` are keys of no version yet: one that runs a command must find none.
"""

INIT_FROM = "trainer.init_from"
OF_MANIFEST = (
    "id", "time", "experiment", "name", "overrides", "baseline", "margin", "replicate", "cells",
    "status", "ended", "search", "looks", "from",
)  # fmt: skip
OF_CELL = ("fingerprint", "name", "overrides", "group", "replica", "values")
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s'\"/:]+/)+")


def line(event: Line) -> Line:
    """Return a line of a journal as it is handed on; one that was handed on stays as it is."""
    if event["event"] == Event.START:
        handed = {**event, "config": _config(event.get("config") or {})}
        handed.pop("command", None)
        if "overrides" in event:
            handed["overrides"] = overrides(event["overrides"] or [])
            handed["name"] = _name(event["name"], event["overrides"] or [])
        return handed
    if event.get("error"):
        return {**event, "error": _FOLDERS.sub(".../", str(event["error"]))}
    return event


def manifest(sweep: Mapping[str, Any]) -> Node:
    """Return the manifest of a sweep as it is handed on."""
    handed = {key: sweep[key] for key in OF_MANIFEST if key in sweep}
    handed["overrides"] = overrides(sweep["overrides"])
    handed["name"] = _name(sweep["name"], sweep["overrides"])
    handed["cells"] = [_cell(cell) for cell in sweep["cells"]]
    if sweep["status"] == "running":
        handed["status"] = str(Status.INTERRUPTED)
    return handed


def _cell(cell: Node) -> Node:
    handed = {key: cell[key] for key in OF_CELL if key in cell}
    handed["overrides"] = overrides(cell["overrides"])
    handed["name"] = _name(cell["name"], cell["overrides"])
    return handed


def overrides(typed: Sequence[str]) -> list[str]:
    """Return the overrides that say what is computed."""
    handed = []
    for word in typed:
        key, equals, value = word.partition("=")
        if config.key_of(word) == INIT_FROM:
            handed.append(f"{key}{equals}{_last(value)}")
        elif not _is_local(config.key_of(word), value):
            handed.append(word)
    return handed


def _name(name: str, typed: Sequence[str]) -> str:
    """Return the name of a run or a sweep without the overrides that are not handed on."""
    handed = overrides(typed)
    for word in typed:
        if word not in handed:
            key, _, value = word.partition("=")
            for said in (word, f"{key.rpartition('.')[2]}={value}"):
                name = f" {name} ".replace(f" {said} ", " ").strip()
    return name


def _is_local(key: str, value: str) -> bool:
    is_section = key in ("data", "sweep") and value.startswith("{")
    return is_section or any(key == name or re.match(rf"{name}[./]", key) for name in LOCAL)


def _config(settings: Node) -> Node:
    """Return a config with the places of no machine in it."""
    handed = dict(settings)
    replaced: dict[str, Node] = {
        "data": {"root": "data"},
        "store": {"root": "runs"},
        "tracking": {"uri": None},
        "sweep": {"then": None, "detach": False},
    }
    for section, values in replaced.items():
        if isinstance(handed.get(section), dict):
            known = {key: value for key, value in values.items() if key in handed[section]}
            handed[section] = {**handed[section], **known}
    trainer = handed.get("trainer")
    if isinstance(trainer, dict) and trainer.get("init_from"):
        handed["trainer"] = {**trainer, "init_from": _last(str(trainer["init_from"]))}
    return handed


def _last(path: str) -> str:
    """Return the id of a run that may be given by its folder."""
    return path.strip("'\"").rstrip("/").rpartition("/")[2]
