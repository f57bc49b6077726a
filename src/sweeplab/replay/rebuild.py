"""The config by which a record is trained again on this machine.

What a record would call is judged before it is looked up, and nothing in it decides where we read
or write (DESIGN 9).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeplab import config, store, targets
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.replay.record import Record, show
from sweeplab.runs.loading import make_importable
from sweeplab.train.device import choose_device
from sweeplab.train.stopping import StopReason

MOST_THREADS = 1024  # a record that asks for more would only exhaust the machine

_PLACE = re.compile(
    r"_args_|(?:.*_)?(?:root|path|file|filename|folder|dir|directory|uri|url)s?", re.IGNORECASE
)
_SIGN = re.compile(r"(?:separator|decimal)=(?:.|\\t)")  # how a table is written: no place
_RUN_ID = re.compile(rf"[0-9a-f]{{1,{store.FINGERPRINT_LENGTH}}}")


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
