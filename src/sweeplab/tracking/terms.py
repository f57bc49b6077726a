"""The store's words in MLflow's: parameters, metrics, tags."""

from __future__ import annotations

import getpass
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplab import config, store
from sweeplab.tracking.records import Node


def ms(seconds: float) -> int:
    return round(seconds * 1000)


KEY_LENGTH = 250  # characters of the name of a parameter, a metric or a tag
EXPERIMENT, RUN, USER, PARAM, TAG, DATASET, DIGEST = 256, 250, 256, 6000, 8000, 500, 36
"""Characters that MLflow's tables hold on PostgreSQL (of a parameter: that MLflow takes); SQLite holds any number."""

_ODD = re.compile(r"[^\w\-. :/]")  # MLflow takes letters and digits of any script
_NO_PATH = re.compile(r"(?:^|(?<=/))[./]|/$| $")  # a name is no path that leads elsewhere, as `../x`, `a//b` or `a/`
_ESCAPE = re.compile(r"_x[0-9a-f]+_")


def key(name: str) -> str:
    """The name as MLflow takes it, another one for each: `a@b` is `a_x40_b`, and what is too long ends in a digest.

    What MLflow would refuse is written as `_x`, its number in Unicode, `_`; a name that looks so is written so, too.
    """
    if _ODD.search(name) or _NO_PATH.search(name) or _ESCAPE.search(name) or not name:
        name = re.sub(r"_(?=x)", _escaped, name)
        name = _NO_PATH.sub(_escaped, re.sub(r"[^\w\-. :/]", _escaped, name)) or "_x0_"
    if len(name) <= KEY_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{name[: KEY_LENGTH - 36]}._x{digest}_"


def _escaped(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):02x}_"


def cut(value: str, most: int) -> str:
    """The text as a database takes it: what is too long ends in a digest, so that other texts stay other ones.

    PostgreSQL takes no NUL, and no database half of a surrogate pair.
    """
    value = value.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    if len(value) <= most:
        return value
    mark = f"... (sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]})"
    return value[: most - len(mark)] + mark


def experiment(name: str) -> str:
    """The name of an experiment as MLflow has it."""
    return cut(name, EXPERIMENT)


def tags(values: Mapping[str, str]) -> dict[str, str]:
    """Tags as MLflow takes them; of two the value is in a column of `runs`, too."""
    columns = {"mlflow.runName": RUN, "mlflow.user": USER}
    return {key(name): cut(value, columns.get(name, TAG)) for name, value in values.items()}


def origin(name: str) -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return {
        "mlflow.runName": name or "run",  # MLflow refuses none
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user,
    }


def params(start: Mapping[str, Any]) -> dict[str, str]:
    """The config of a `start` event as MLflow parameters: dotted keys, and not where the run is kept.

    What was asked is told in the form that fingerprints are made of, so that equal runs have equal parameters.
    """
    kept = {k: v for k, v in start["config"].items() if k not in ("tracking", "store", "sweep")}
    if asked := start.get("asked"):
        kept |= {name: asked.get(name, {}) for name in (*config.COMPONENTS, "metrics")}
        kept |= {name: kept[name] | asked[name] for name in ("data", "trainer")}
    values = config.flatten(config.normalize(kept))
    return {name: config.yaml_str(value) for name, value in values.items() if value != {}}


def values(events: Sequence[Node], fed: int) -> list[tuple[str, float, int, int]]:
    """(metric, value, milliseconds, step) of the lines after the first `fed`.

    Of a repeated epoch the first line counts. The final metrics are those of the `finished` end: an interrupted run
    goes on, and would have each of them twice. The step of a look at the machine is its number, as MLflow has it.
    """
    first: dict[int, int] = {}  # epoch -> its first line
    rows: list[tuple[int, int, Node]] = []  # (line, step, event)
    for line, event in enumerate(events):
        if event["event"] == store.Event.EPOCH and first.setdefault(event["epoch"], line) == line:
            rows.append((line, event["epoch"], event))
    looks = [line for line, event in enumerate(events) if event["event"] == store.Event.SYSTEM]
    rows += [(line, step, events[line]) for step, line in enumerate(looks)]
    ends = [n for n, e in enumerate(events) if e["event"] == store.Event.END and e["status"] == store.Status.FINISHED]
    rows += [(line, max(first, default=0), events[line]) for line in ends[:1]]
    return [
        (name, value, ms(event["time"]), step)
        for line, step, event in rows
        if line >= fed
        for name, value in store.numbers(event["metrics"]).items()
    ]
