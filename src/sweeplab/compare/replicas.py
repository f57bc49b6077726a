"""The runs of a comparison, each read from the store once."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.store import Run, Store

Node = dict[str, Any]

RUNNING, MISSING, DAMAGED = "running", "missing", "damaged"  # states that no result.json has
DIVERGED = "diverged"  # stop_reason of a run whose loss is no number any more
NESTED = ("config", "asked")  # of a record: what differs between runs are sections of these
SEED = "seed"  # the key over which runs are replicated, unless a sweep says otherwise


@dataclass(kw_only=True, slots=True, eq=False)
class Replica:
    """One run of a group, or the cell of a sweep that no run was started for."""

    id: str
    cell: Node  # of the manifest: fingerprint, name, overrides
    status: str  # finished | failed | interrupted | pruned | unfinished | running | missing | damaged
    stop_reason: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    start: Node = field(default_factory=dict)  # the last `start` event; empty if there is none
    error: str | None = None
    weights: str | None = None  # SHA-256 of the final ones

    @property
    def seed(self) -> int | None:
        seed = self.value(SEED)
        return seed if isinstance(seed, int) else None

    def value(self, key: str) -> Any:
        """Its value of a key over which runs are replicated; None if that is not known."""
        if self.start:
            found = _at(self.start.get("asked"), key)
            return _at(self.start.get("config"), key) if found is None else found
        known = self.cell.get("replica", {})
        given = [override.partition("=")[2] for override in self.cell["overrides"] if key_of(override) == key]
        return known[key] if key in known else config.from_text(given[-1]) if given else None

    def told(self) -> Node:
        """Its config, flat: what was asked in the form that fingerprints are made of, the rest as it was given."""
        asked = config.flatten(self.start.get("asked", {}))
        asked.pop("trainer.init_from", None)  # the digest of the weights of a run that the config names
        return config.flatten(self.start["config"]) | asked

    @property
    def chosen(self) -> Mapping[str, float]:
        """The metrics of the best epoch: what selection may go by; none unless the run is finished."""
        best = self.metrics.get(metrics.BEST_EPOCH, math.nan)
        return self.epochs.get(int(best), {}) if self.status == store.Status.FINISHED and math.isfinite(best) else {}

    def watched(self) -> tuple[str, str]:
        """(monitored metric, `max` or `min`), `auto` resolved."""
        return metrics.watched(self.start)

    def without(self, metric: str) -> str:
        """Why it has no value of a metric, in a word or two: its status, or that it diverged."""
        if self.status != store.Status.FINISHED:
            return self.status
        return DIVERGED if self.stop_reason == DIVERGED else f"without {metric}"

    def reached(self, monitor: str, mode: str, target: float) -> int | None:
        """The first epoch at which the monitored metric was as good as the target."""
        sign = 1 if mode == "max" else -1
        return next(
            (e for e, m in sorted(self.epochs.items()) if sign * m.get(monitor, math.nan) >= sign * target), None
        )

    def trouble(self, wanted: Sequence[str]) -> str | None:
        """What keeps the run, or one of these metrics of it, out of the means; None if nothing does."""
        after = f"after epoch {max(self.epochs)}" if self.epochs else "before its first epoch ended"
        match self.status:
            case "missing":
                return "missing: never started"
            case "damaged":
                return f"its journal cannot be read: {self.error}; remove its folder and train it again"
            case "failed":
                return f"failed: {self.error}" if self.error else "failed"
            case "running":
                return f"still running, {after}"
            case "finished":
                values = {**self.metrics, **self.chosen}
                odd = [name for name in wanted if not math.isfinite(values.get(name, math.nan))]
                kept = " (its metrics are those of the best epoch before)" if not odd else ""
                diverged = f"diverged {after}{kept}" if self.stop_reason == DIVERGED else ""
                named = ", ".join(f"{name} is {values[name]}" if name in values else f"no {name}" for name in odd)
                return "; ".join(filter(None, (diverged, named))) or None
        return f"{'interrupted' if self.status == store.Status.INTERRUPTED else self.status} {after}" + (
            f": {self.error}" if self.error else ""
        )


def read(home: Store, cell: Node, known: dict[str, Node] | None = None) -> Replica:
    """The run of a cell as it is now.

    Runs that are read with the same `known` share in memory what their records have in common, which is most.
    """
    found = read_run(home.run(cell["fingerprint"]), cell)
    if known is not None and found.start:
        found.start = _shared(found.start, known)
        for name in NESTED:
            if name in found.start:
                found.start[name] = _shared(found.start[name], known)
    return found


def planned(cell: Node, outline: Node) -> Replica:
    """The run that a cell asks for, before it is started; `outline` is what its record will say of what is asked."""
    return Replica(id=cell["fingerprint"], cell=cell, status=MISSING, start=outline)


def _shared(node: Node, known: dict[str, Node]) -> Node:
    """The same, each part of it the first one that was equal."""
    return {
        sys.intern(k): known.setdefault(repr(v), v) if isinstance(v, dict) and k not in NESTED else v
        for k, v in node.items()
    }


def read_run(run: Run, cell: Node | None = None) -> Replica:
    """A run as it is now; its result first, so that a finished run's journal is whole."""
    cell = cell or {"overrides": []}
    try:
        result, events = run.history()
    except store.DamagedError as error:
        return Replica(id=run.id, cell=cell, status=DAMAGED, error=str(error))
    done = result is not None and result.status == store.Status.FINISHED
    status: str = store.Status.UNFINISHED if result is None else result.status
    if not done and run.claimed:
        status = RUNNING
    elif not events and result is None:
        status = MISSING
    starts = [event for event in events if event["event"] == store.Event.START]
    ends = [event for event in events if event["event"] in (store.Event.START, store.Event.RESUME, store.Event.END)]
    why = ends[-1].get("error") if ends else None
    return Replica(
        id=run.id,
        cell=cell,
        status=status,
        stop_reason=result.stop_reason if result else None,
        metrics=result.metrics if result else {},
        weights=result.weights_sha256 if result else None,
        epochs=store.epochs_of(events),
        start=starts[-1] if starts else {},
        error=" ".join(str(why).split()) if why else None,
    )


def _at(nested: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for name in key.split("."):
        nested = nested.get(name) if isinstance(nested, dict) else None
    return nested


def key_of(override: str) -> str:
    """The key of an override, without Hydra's signs."""
    return override.partition("=")[0].lstrip("+~")


def finite(value: Any) -> Any:
    """For JSON, which has no nan and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
