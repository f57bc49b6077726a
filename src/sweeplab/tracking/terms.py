"""Translate the store's words into MLflow's: parameters, metrics, tags, and names that MLflow takes."""

from __future__ import annotations

import getpass
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sweeplab import config, store
from sweeplab.tracking.records import Node

KEY_LENGTH = 250  # characters of the name of a parameter, a metric or a tag
EXPERIMENT, RUN, USER, PARAM, TAG, DATASET, DIGEST = 256, 250, 256, 6000, 8000, 500, 36
"""Characters that MLflow's tables hold on PostgreSQL (of a parameter: that MLflow takes).

SQLite holds any number.
"""

_ODD = re.compile(r"[^\w\-. :/]")  # MLflow takes letters and digits of any script
_NO_PATH = re.compile(r"(?:^|(?<=/))[./]|/$| $")  # a name must not lead elsewhere, as `../x` would
_ESCAPE = re.compile(r"_x[0-9a-f]+_")


class MetricRow(NamedTuple):
    """One value of a metric, as MLflow stores it."""

    name: str
    value: float
    time: int  # milliseconds
    step: int


def ms(seconds: float) -> int:
    """Round seconds to milliseconds, as MLflow counts time."""
    return round(seconds * 1000)


def key(name: str) -> str:
    """Spell the name as MLflow takes it; other names stay other ones.

    What MLflow would refuse is written as `_x`, its number in Unicode, `_`: `a@b` is `a_x40_b`. A
    name that already looks so is escaped, too. What is too long ends in a digest.
    """
    if _ODD.search(name) or _NO_PATH.search(name) or _ESCAPE.search(name) or not name:
        name = re.sub(r"_(?=x)", _escaped, name)
        name = _ODD.sub(_escaped, name)
        name = _NO_PATH.sub(_escaped, name) or "_x0_"
    if len(name) <= KEY_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{name[: KEY_LENGTH - 36]}._x{digest}_"


def _escaped(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):02x}_"


def cut(value: str, most: int) -> str:
    """Shorten the text as a database takes it; other texts stay other ones, by a digest at the end.

    PostgreSQL takes no NUL, and no database half of a surrogate pair.
    """
    value = value.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    if len(value) <= most:
        return value
    mark = f"... (sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]})"
    return value[: most - len(mark)] + mark


def experiment(name: str) -> str:
    """Return the name of an experiment as MLflow has it."""
    return cut(name, EXPERIMENT)


def tags(values: Mapping[str, str]) -> dict[str, str]:
    """Return tags as MLflow takes them; run name and user are in columns of its own, too."""
    lengths = {"mlflow.runName": RUN, "mlflow.user": USER}
    return {key(name): cut(value, lengths.get(name, TAG)) for name, value in values.items()}


def origin(name: str) -> dict[str, str]:
    """Return the tags that tell what an MLflow run is called, and who made it with what."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return {
        "mlflow.runName": name or "run",  # MLflow refuses an empty name
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user,
    }


def run_tags(history: store.History) -> dict[str, str]:
    """Return the tags that a run's journal gives: of its latest start, and why it stopped.

    Where it is computed is told of the last process that took it up.
    """
    provenance = history.start.get("provenance") or {}
    git = provenance.get("git") or {}
    values = {
        "question": history.start.get("question"),
        "git.commit": git.get("commit"),
        "git.dirty": git.get("dirty"),
        "mlflow.source.git.commit": git.get("commit"),
        "device": provenance.get("device"),
        "threads": provenance.get("threads"),
        "stop_reason": history.latest(store.Event.END).get("stop_reason"),
    }
    for package, version in (provenance.get("versions") or {}).items():
        values[f"version.{package}"] = version
    values |= history.whereabouts
    return {name: config.yaml_str(value) for name, value in values.items() if value is not None}


def params(start: Mapping[str, Any]) -> dict[str, str]:
    """Return the config of a `start` event as MLflow parameters: texts under dotted keys."""
    return {name: config.yaml_str(value) for name, value in settings(start).items()}


def settings(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a `start` event under dotted keys.

    Where the run is kept is left out. What was asked for is told in the form that fingerprints are
    made of, so that equal runs have equal parameters.
    """
    sections = dict(start["config"])
    for section in ("tracking", "store", "sweep"):
        sections.pop(section, None)
    if asked := start.get("asked"):
        for section in (*config.COMPONENTS, "metrics"):
            sections[section] = asked.get(section, {})
        for section in ("data", "trainer"):
            sections[section] = sections[section] | asked[section]
    values = config.flatten(config.normalize(sections))
    return {name: value for name, value in values.items() if value != {}}


def values(events: Sequence[Node], fed: int) -> list[MetricRow]:
    """Return the metric rows of a journal's lines after the first `fed`.

    The final metrics are those of the first `finished` end: an interrupted run goes on, and would
    have each of them twice.
    """
    steps = _steps(events)
    rows = []
    for number, step in steps.items():
        if number >= fed:
            event = events[number]
            for name, value in store.numbers(event["metrics"]).items():
                rows.append(MetricRow(name, value, ms(event["time"]), step))
    return rows


def _steps(events: Sequence[Node]) -> dict[int, int]:
    """Map the lines that have metrics to their steps.

    The step of an epoch is its number; of a repeated epoch the first line counts. The step of a
    look at the machine is how many there were before, as MLflow has it. That of the end is the last
    epoch.
    """
    epochs: dict[int, int] = {}  # epoch -> its first line
    looks: list[int] = []
    ends: list[int] = []
    for number, event in enumerate(events):
        match event["event"]:
            case store.Event.EPOCH:
                epochs.setdefault(event["epoch"], number)
            case store.Event.SYSTEM:
                looks.append(number)
            case store.Event.END if event["status"] == store.Status.FINISHED:
                ends.append(number)
    steps = {number: epoch for epoch, number in epochs.items()}
    steps |= {number: step for step, number in enumerate(looks)}
    steps |= dict.fromkeys(ends[:1], max(epochs, default=0))
    return steps
