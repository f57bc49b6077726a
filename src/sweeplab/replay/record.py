"""Records of runs, whoever they come from: each is refused, or rebuilt as a config.

What a record would call is judged before it is looked up, and nothing in it decides where we read
or write (DESIGN 9).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab import config, metrics, store, targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.runs.loading import make_importable
from sweeplab.store import Status
from sweeplab.train.device import choose_device
from sweeplab.train.stopping import StopReason

TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)
MOST_THREADS = 1024  # a record that asks for more would only exhaust the machine

_PLACE = re.compile(
    r"_args_|(?:.*_)?(?:root|path|file|filename|folder|dir|directory|uri|url)s?", re.IGNORECASE
)
_SIGN = re.compile(r"(?:separator|decimal)=(?:.|\\t)")  # how a table is written: no place
_RUN_ID = re.compile(rf"[0-9a-f]{{1,{store.FINGERPRINT_LENGTH}}}")


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
            raise UserError(
                f"{file.name}: refused: a record has no aliases"
            )  # a few lines of them fill the memory
        loaded = yaml.safe_load(text)
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file.name}: refused: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file.name}: is not a config")
    return loaded


# --- from a record to a config of this machine


def rebuild(record: Record, local: Config, home: Path, trusted: Sequence[str] = ()) -> Config:
    """Make the config to train in the store `home`: that of the record, with local places.

    Raises UserError for what could call, read or write anything else than what is trusted does.
    """
    raw = record.config
    _refuse_odd_values(raw, "")
    _refuse_odd_values(record.start["config"], "journal")
    _refuse_moved(record, local)
    if record.threads > MOST_THREADS:
        raise UserError(
            f"{record.run.id}: refused: {record.threads} threads would exhaust this machine"
        )
    if trusted:
        make_importable(record.run)
    targets.ensure_trusted(raw, "", trusted)
    names = (*config.COMPONENTS, "metrics", "step")
    secrets = config.flatten({name: getattr(local, name) for name in names})
    components = {name: _localized(raw[name], name, {}, secrets) for name in names if name in raw}
    data = _section(raw, "data")
    local_dataset = config.flatten({"data": {"dataset": local.data.dataset}})
    data |= {
        "root": local.data.root,
        "workers": local.data.workers,
        "memory": _memory(record, data.get("memory"), local.data.memory),
        "dataset": _localized(data.get("dataset"), "data.dataset", local_dataset, local_dataset),
    }
    trainer = _section(raw, "trainer")
    trainer |= {
        "progress": local.trainer.progress,
        "keep_every": local.trainer.keep_every or trainer.get("keep_every"),
        "profile": False,
        "time_limit": None,
        "threads": record.threads,
        "device": _available_device(record.device),
        "init_from": _initial_run(trainer.get("init_from"), local),
    }
    if record.outcome["stop_reason"] == StopReason.TIME_LIMIT:  # where that ends a run is chance
        trainer["epochs"] = record.last_epoch
    here: Node = {
        "tracking": {"enabled": False},
        "store": {"root": str(home)},
        "sweep": {"id": None},
    }
    return config.parse({**raw, **components, "data": data, "trainer": trainer, **here})


def _memory(record: Record, recorded: object, local: int) -> int:
    """Return this machine's `data.memory`; no more than the record's if its set was streamed.

    A set that only iterates is trained on in another order once it is held.
    """
    was_streamed = record.start["data"].get("held") is False
    if was_streamed and isinstance(recorded, int):
        return min(recorded, local)
    return local


def _section(raw: Node, name: str) -> Node:
    section = raw.get(name)
    if not isinstance(section, dict):
        raise UserError(f"config.yaml: {name} is missing")
    return dict(section)


def _refuse_odd_values(value: Any, key: str) -> None:
    """Refuse interpolations, and what a command line cannot say."""
    if isinstance(value, Mapping | list):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _refuse_odd_values(name, key)
            _refuse_odd_values(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and "${" in value:
        raise UserError(
            f"{key}={show(value)}: refused: a record is resolved, and refers to nothing"
        )
    elif not isinstance(value, str | int | float | None) or not str(value).isprintable():
        raise UserError(f"{key}={show(value)}: refused: only plain numbers and words are expected")


def _refuse_moved(record: Record, local: Config) -> None:
    """Refuse a record in which a place was changed afterwards, which shows what it was meant for.

    Places are never taken from a record. One of a resumed run may have been on another machine.
    """
    if record.resumed:
        return
    now, then = config.flatten(record.config), config.flatten(record.start["config"])
    for key, here in places(local).items():
        if now.get(key) not in (then.get(key), here):
            raise UserError(
                f"{key}={show(now.get(key))}: refused: it is neither this machine's nor the journal's"
            )


def places(local: Config) -> dict[str, str | None]:
    """Return where we read and write; never a record's."""
    return {
        "data.root": local.data.root,
        "store.root": local.store.root,
        "tracking.uri": local.tracking.uri,
    }


def _localized(value: Any, key: str, known: Mapping[str, Any], secrets: Mapping[str, Any]) -> Any:
    """Replace every argument that is a place or a secret by that of the local config.

    Raises UserError if that has none.

    The `path` of a node that looks a dotted name up is no place; it was judged as a name.
    """
    if targets.is_lookup(value):
        return value
    if isinstance(value, dict):
        return {
            name: _localized(item, f"{key}.{name}", known, secrets) for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _localized(item, f"{key}[{index}]", known, secrets) for index, item in enumerate(value)
        ]
    if config.is_hidden(value):
        return config.reveal(value, key, secrets, "give it: '+{key}=...'")
    name = re.sub(r"\[\d+\]", "", key.rpartition(".")[2])
    if not isinstance(value, str) or not _is_place(name, value):
        return value
    if key in known:
        return known[key]
    advice = f"; give it: +{key}=..." if key.startswith("data.dataset.") and "[" not in key else ""
    raise UserError(
        f"{key}={show(value)}: refused: a record does not say where to read or write{advice}"
    )


def _is_place(name: str, value: str) -> bool:
    """Tell whether an argument of this name says where to read or write, or may do so."""
    if _SIGN.fullmatch(f"{name}={value}"):
        return False
    return bool(_PLACE.fullmatch(name) or re.search(r"[/\\]|^~|^\.", value))


def _available_device(name: str) -> str:
    """Return the recorded device, or `auto` where there is none like it: the report will name it."""
    try:
        return str(choose_device(name))
    except UserError:
        return "auto"


def _initial_run(name: Any, local: Config) -> str | None:
    """Find the folder of the run whose weights come first: a run of this store, by its id alone."""
    if name is None:
        return None
    run_id = str(name).rstrip("/").rpartition("/")[2]
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(
            f"trainer.init_from={show(name)}: refused: a record can only name a run's id"
        )
    try:
        return str(store.Store(local.store.root).find(run_id).folder)
    except UserError as error:
        raise UserError(
            f"trainer.init_from={error}; the weights to start from must be there"
        ) from error


def show(value: Any) -> str:
    """Write a value on one line; nan and infinities look the same from JSON and from YAML."""
    return re.sub(r'"(NaN|-?Infinity)"', r"\1", json.dumps(value, default=str))
