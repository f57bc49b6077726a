"""The runs of a comparison, each read from the store once."""

from __future__ import annotations

import marshal
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.config import Node
from sweeplab.store import Run, Store

RUNNING, MISSING, DAMAGED = "running", "missing", "damaged"  # states that no result.json has
DIVERGED = "diverged"  # stop_reason of a run whose loss is no number any more
NESTED = ("config", "asked")  # of a record: what differs between runs are sections of these
SEED = "seed"  # the key over which runs are replicated, unless a sweep says otherwise


@dataclass(kw_only=True, slots=True, eq=False)
class Replica:
    """One run of a group, or the cell of a sweep that no run was started for."""

    id: str
    cell: Node  # of the manifest: fingerprint, name, overrides
    status: str  # a store.Status, or one of the three above
    stop_reason: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: Mapping[int, dict[str, float]] = field(default_factory=dict)
    start: Node = field(default_factory=dict)  # the last `start` event; empty if there is none
    error: str | None = None
    weights: str | None = None  # SHA-256 of the final ones
    measured: dict[str, float] = field(default_factory=dict)  # what counts in the means
    is_late: bool = False  # whether it counts at the limit of epochs, in `epochs_to_target`

    @property
    def seed(self) -> int | None:
        seed = self.value(SEED)
        return seed if isinstance(seed, int) else None

    def value(self, key: str) -> Any:
        """Look up the value of a key over which runs are replicated; None if it is not known."""
        if self.start:
            value = _at(self.start.get("asked"), key)
            return _at(self.start.get("config"), key) if value is None else value
        planned = self.cell.get("replica", {})
        if key in planned:
            return planned[key]
        for override in reversed(self.cell["overrides"]):
            if config.key_of(override) == key:
                return config.from_text(override.partition("=")[2])
        return None

    def flat_config(self) -> Node:
        """Flatten the config: what was asked as it is fingerprinted, the rest as it was given."""
        asked = config.flatten(self.start.get("asked", {}))
        asked.pop("trainer.init_from", None)  # the digest of weights that the config has by name
        return config.flatten(self.start["config"]) | asked

    @property
    def best_epoch(self) -> Mapping[str, float]:
        """The metrics of the best epoch; none unless the run is finished."""
        best = self.metrics.get(metrics.BEST_EPOCH, math.nan)
        if self.status != store.Status.FINISHED or not math.isfinite(best):
            return {}
        return self.epochs.get(int(best), {})

    def why_without(self, metric: str) -> str:
        """Say in a word or two why the run has no value of a metric."""
        if self.status != store.Status.FINISHED:
            return self.status
        return DIVERGED if self.stop_reason == DIVERGED else f"without {metric}"

    def measure(self, monitor: str) -> None:
        """Note the finite metrics of a finished run; of the monitor, that of the best epoch."""
        values = dict(self.metrics)
        if monitor in self.best_epoch:
            values[monitor] = self.best_epoch[monitor]
        if self.status == store.Status.FINISHED:
            self.measured = {name: value for name, value in values.items() if math.isfinite(value)}

    def measures(self, metric: str) -> bool:
        """Tell whether some epoch has this metric."""
        return any(metric in values for values in self.epochs.values())

    def first_epoch_at(self, monitor: str, mode: str, target: float) -> int | None:
        """Find the first epoch at which the monitored metric was as good as the target."""
        sign = sign_of(mode)
        for epoch, values in sorted(self.epochs.items()):
            if sign * values.get(monitor, math.nan) >= sign * target:
                return epoch
        return None

    def trouble(self, wanted: Sequence[str]) -> str | None:
        """Say what keeps the run, or a metric of it, out of the means; None if nothing does."""
        when = f"after epoch {max(self.epochs)}" if self.epochs else "before its first epoch ended"
        reason = f": {self.error}" if self.error else ""
        match self.status:
            case store.Status.FINISHED:
                return self._without_metrics(wanted, when)
            case "missing":
                return "missing: never started, or removed"
            case "damaged":
                advice = "remove its folder and train it again"
                return f"its journal cannot be read: {self.error}; {advice}"
            case "running":
                return f"still running, {when}"
            case store.Status.FAILED:
                return f"failed{reason}"
        return f"{self.status} {when}{reason}"

    def _without_metrics(self, wanted: Sequence[str], when: str) -> str | None:
        """Say that a finished run diverged, or which metrics it lacks."""
        values = {**self.metrics, **self.best_epoch}
        lacking = []
        for name in wanted:
            if name not in values:
                lacking.append(f"no {name}")
            elif not math.isfinite(values[name]):
                lacking.append(f"{name} is {values[name]}")
        reason = ", ".join(lacking)
        if self.stop_reason != DIVERGED:
            return reason or None
        if lacking:
            return f"diverged {when}; {reason}"
        return f"diverged {when} (its metrics are those of the best epoch before)"


def sign_of(mode: str) -> int:
    """Return what to multiply a metric by, so that more of it is better."""
    return 1 if mode == "max" else -1


def read(home: Store, cell: Node, known: dict[bytes, Node] | None = None) -> Replica:
    """Read the run of a cell as it is now.

    Runs that are read with the same `known` share in memory what their records have in common,
    which is most.
    """
    replica = read_run(home.run(cell["fingerprint"]), cell)
    if known is not None and replica.start:
        share(replica, known)
    return replica


def share(replica: Replica, known: dict[bytes, Node]) -> None:
    """Replace parts of a run's record by those in `known` that are equal, and note the others."""
    replica.start = _shared(replica.start, known)
    for name in NESTED:
        if name in replica.start:
            replica.start[name] = _shared(replica.start[name], known)


def planned(cell: Node, outline: Node) -> Replica:
    """Make the run of a cell before it is started; `outline` is what its record will say."""
    return Replica(id=cell["fingerprint"], cell=cell, status=MISSING, start=outline)


def _shared(node: Node, known: dict[bytes, Node]) -> Node:
    """Copy a node, with each part replaced by the first one that was equal to it.

    Values of plain data are the same if their bytes in `marshal` are, which is the fastest way to
    tell 1 from 1.0 and from true; in version 2 those do not tell who else refers to a text.
    """
    result: Node = {}
    for key, value in node.items():
        if isinstance(value, dict) and key not in NESTED:
            value = known.setdefault(marshal.dumps(value, 2), value)
        result[sys.intern(key)] = value
    return result


def read_run(run: Run, cell: Node | None = None) -> Replica:
    """Read a run as it is now; its result first, so that a finished run's journal is whole."""
    replica = Replica(id=run.id, cell=cell or {"overrides": []}, status=store.Status.UNFINISHED)
    try:
        result, history = run.history()
    except store.DamagedError as error:
        replica.status, replica.error = DAMAGED, str(error)
        return replica
    is_finished = result is not None and result.status == store.Status.FINISHED
    return of_history(replica, result, history, is_claimed=not is_finished and run.claimed)


def of_history(
    replica: Replica, result: store.Result | None, history: store.History, *, is_claimed: bool
) -> Replica:
    """Fill in what a run's result and journal say; `is_claimed`: a living process holds the run."""
    replica.epochs, replica.start, replica.error = history.epochs, history.start, history.error
    if result is not None:
        replica.status, replica.stop_reason = result.status, result.stop_reason
        replica.metrics, replica.weights = result.metrics, result.weights_sha256
    if replica.status != store.Status.FINISHED and is_claimed:
        replica.status = RUNNING
    elif result is None and not history.count:
        replica.status = MISSING
    return replica


def _at(nested: Any, key: str) -> Any:
    """Look up a dotted key; None if there is none."""
    for name in key.split("."):
        if not isinstance(nested, dict):
            return None
        nested = nested.get(name)
    return nested
