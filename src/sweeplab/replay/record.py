"""Records of runs, whoever they come from: found and read, without PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab import config, metrics, store, tracking
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.store import Status

TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)

LOCAL = (
    "data.root",
    "data.workers",
    "data.memory",
    "data.dataset.",
    "store.",
    "tracking",
    "trainer.progress",
    "trainer.keep_every",
)
"""What overrides may say: where things lie, what is seen, kept. All else is the record's."""

_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(kw_only=True, slots=True, frozen=True)
class Record:
    """A run as it was written down."""

    run: store.Run
    config: Node  # config.yaml
    start: Node  # the journal's first start
    provenance: Node  # of the last start or resume, as are device and threads
    device: str
    threads: int
    resumed: bool
    epochs: dict[int, dict[str, float]]
    last_epoch: int
    outcome: dict[str, Any]  # what came out, but the times


def ensure_local(overrides: Sequence[str], secrets: Collection[str] | None = None) -> None:
    """Raise UserError for an override that says what to train, unless it gives one of `secrets`."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if secrets is not None and key in secrets:
            continue
        if secrets is None and config.redact_override(override) != override:
            continue
        if not key.startswith(LOCAL):
            raise UserError(
                f"{override}: replay trains what the record says; only {', '.join(LOCAL)} can be given"
            )


def find(name: str, local: Config, scratch: Path) -> store.Run:
    """Find a run by its store id, the beginning of one, its folder or its MLflow run id.

    That of MLflow is downloaded into the folder `scratch`. Raises UserError if there is none.
    """
    try:
        return store.Store(local.store.root).find(name)
    except UserError:
        if name and (folder := config.expand_home(name)).is_dir():
            return store.Run(folder.resolve())  # reading it will say what it lacks
        if not _MLFLOW_ID.fullmatch(name):
            raise
    tracking.download(tracking.resolve_uri(local.tracking), name, scratch / name)
    return store.Run(scratch / name)


def read(run: store.Run) -> Record:
    """Read the record in this folder.

    Raises UserError if there is none, it is damaged, or its run is not finished.
    """
    for file in (run.config_file, run.journal.path):
        if not file.is_file():
            raise UserError(
                f"{run.id}: has no {file.name}; a record is a config.yaml and a journal.jsonl"
            )
    settings = _load(run.config_file)
    try:
        return _parse(run, settings)
    except (store.DamagedError, UserError):
        raise
    except (
        ValueError,
        TypeError,
        LookupError,
        StopIteration,
        AttributeError,
        RecursionError,
    ) as error:
        raise UserError(
            f"{run.id}: journal.jsonl is not that of a run: {type(error).__name__}: {error}"
        ) from error


def _parse(run: store.Run, settings: Node) -> Record:
    """Make a record; raises any of the errors of plain values that are not what they should be."""
    _, history = run.history()
    if history.status != Status.FINISHED:  # it may have failed before it had a start, or an epoch
        raise UserError(f"{run.id}: is {history.status}; only a finished run can be replayed")
    start, provenance = history.first_start, history.provenance
    epochs = {int(epoch): values for epoch, values in history.epochs.items()}
    return Record(
        run=run,
        config=settings,
        start={**start, "config": dict(start["config"]), "data": dict(start["data"])},
        device=str(provenance["device"]).partition(" ")[0],
        threads=int(provenance["threads"]),
        provenance=provenance,
        resumed=history.was_resumed,
        epochs=epochs,
        last_epoch=max(epochs),
        outcome=outcome(history.end),
    )


def outcome(end: Node) -> dict[str, Any]:
    """Take from an `end` event what must come out again: all but the times."""
    values = {
        name: value for name, value in store.numbers(end["metrics"]).items() if name not in TIMES
    }
    return {"stop_reason": end["stop_reason"], "weights_sha256": end["weights_sha256"], **values}


def _load(file: Path) -> Node:
    """Load the record's config: plain values only, nothing resolved and nothing built."""
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            # A few lines of aliases can fill the memory.
            raise UserError(f"{file.name}: refused: a record has no aliases")
        loaded = yaml.safe_load(text)
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file.name}: refused: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file.name}: is not a config")
    return loaded


def show(value: Any) -> str:
    """Write a value on one line; nan and infinities look the same from JSON and from YAML."""
    return re.sub(r'"(NaN|-?Infinity)"', r"\1", json.dumps(value, default=str))
