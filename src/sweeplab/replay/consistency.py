"""Whether a record says the same in all its places: what is false in one must be false in all.

A checksum is written anew by whoever changes a number; what is recorded twice shows it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sweeplab import config, store
from sweeplab.compare.computation import computation
from sweeplab.config import Node
from sweeplab.replay.record import Record
from sweeplab.replay.replay import unequal
from sweeplab.runs.weights import verified_weights
from sweeplab.store import History, Run

ASKED = ("question", "asked", "code", "data")  # of a start: what follows from what is trained
OF_MACHINE = ("data.held", "data.sample")  # of these, what a machine's memory decides


def contradictions(record: Record, fingerprint: str) -> list[str]:
    """List what a record says otherwise in two places; `fingerprint` is what its sweep calls it.

    Raises DamagedError for weights that are not those that the run ended with.
    """
    run, start = record.run, record.start
    found = []
    if start.get("fingerprint") != fingerprint or not store.fits_question(start):
        found.append("its fingerprint or question is not that of what was asked")
    then, now = _computed(start["config"]), _computed(record.config)
    found += unequal(then, now, there="in the journal", here="in config.yaml")
    found += _other_result(run)
    if store.weights.why_none(run) is None:
        verified_weights(run)
    return found


def _computed(settings: Node) -> dict[str, Any]:
    """Flatten what a config computes; for its examples stands their digest."""
    values = computation({"config": settings}, over=())
    kept = {}
    for key, value in values.items():
        if key == "trainer.init_from":
            value = str(value).rstrip("/").rpartition("/")[2]  # the run's id
        if value is not None and key != "data.name" and not key.startswith("data.dataset."):
            kept[key] = value
    return kept


def _other_result(run: Run) -> list[str]:
    """List what result.json says otherwise than the journal's end. Raises DamagedError."""
    written, journalled = run.read_result(), run.journalled()
    if written is None or journalled is None:
        return []
    then, now = (config.flatten(asdict(result)) for result in (journalled, written))
    now["overrides"] = then["overrides"]  # those of a command that took the run up
    return unequal(then, now, there="in the journal", here="in result.json")


def further_differences(record: Record, replayed: History) -> list[str]:
    """List what differs besides the epochs and the end: what was asked, and weights on the way.

    What was asked is compared if it is trained as it was: by the same code, and for as long.
    """
    then, now = record.start, replayed.first_start
    found = []
    if then.get("fingerprint") == now["fingerprint"]:
        keys = [key for key in ASKED if key in then]
        before, after = (config.flatten({key: s[key] for key in keys}) for s in (then, now))
        found = unequal(before, {**after, **{k: before[k] for k in OF_MACHINE if k in before}})
    kept, again = History.of(record.run.journal).kept_weights, replayed.kept_weights
    epochs = kept.keys() & again.keys()
    return found + unequal(
        {f"weights of epoch {epoch}": kept[epoch] for epoch in sorted(epochs)},
        {f"weights of epoch {epoch}": again[epoch] for epoch in sorted(epochs)},
    )
