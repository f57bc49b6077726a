"""The runs of a comparison, read from the store once, and grouped: a group is a config, its runs are its replicas."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.compare import statistics
from sweeplab.store import Run, Store

Node = dict[str, Any]

RUNNING, MISSING, DAMAGED = "running", "missing", "damaged"  # states that no result.json has
DIVERGED = "diverged"  # stop_reason of a run whose loss is no number any more
TO_TARGET = "epochs_to_target"  # a metric of the comparison: the first epoch that reached it, at most the limit

PLACES = ("store.", "tracking.", "sweep.", "hydra.")
HOW = {f"trainer.{key}" for key in config.HOW} | {"data.root", "data.workers", "data.memory"}
WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
DEFAULT = "(default)"  # a choice (`model=mlp`) that some sweeps were given and this one was not
DIGITS = 12  # of a digest, where it is shown as a value


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

    @property
    def seed(self) -> int | None:
        given = [o.partition("=")[2] for o in self.cell["overrides"] if _key(o) == "seed"]
        seed = self.start["config"]["seed"] if self.start else parsed(given[-1]) if given else None
        return seed if isinstance(seed, int) else None

    @property
    def chosen(self) -> Mapping[str, float]:
        """The metrics of the best epoch: what selection may go by; none unless the run is finished."""
        best = self.metrics.get(metrics.BEST_EPOCH, math.nan)
        return self.epochs.get(int(best), {}) if self.status == store.FINISHED and math.isfinite(best) else {}

    def watched(self) -> tuple[str, str]:
        """(monitored metric, `max` or `min`), `auto` resolved."""
        return metrics.watched(self.start.get("config", {}))

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
        return f"{'interrupted' if self.status == store.INTERRUPTED else self.status} {after}" + (
            f": {self.error}" if self.error else ""
        )


@dataclass(kw_only=True, slots=True, eq=False)
class Group:
    """A config under several seeds."""

    values: Node  # flat: the config, the digests of data and code; without the seed, and without places
    choices: dict[str, str]  # override key -> text, as typed, of what all its cells were given
    replicas: list[Replica] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)  # its text in each column of the comparison
    name: str = ""  # the same in one line
    measured: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> run id -> finite value
    late: set[str] = field(default_factory=set)  # run ids: they did not reach the target, and count at the limit

    def mean(self, name: str) -> statistics.Mean | None:
        return statistics.mean(self.measured.get(name, {}).values())

    def by_seed(self, name: str) -> dict[int, float]:
        """Seed -> value, for pairing."""
        values = self.measured.get(name, {})
        return {r.seed: values[r.id] for r in self.replicas if r.seed is not None and r.id in values}

    def late_seeds(self) -> set[int]:
        """The seeds whose runs did not reach the target."""
        return {r.seed for r in self.replicas if r.seed is not None and r.id in self.late}

    def text(self, column: str) -> str:
        """Its value of a column: a key of the config (a dash if it has none such), else what was typed."""
        if column in self.values:
            return show(self.values[column])
        return self.choices.get(column, "-" if "." in column else DEFAULT)


def read(home: Store, cell: Node, known: dict[str, Node] | None = None) -> Replica:
    """The run of a cell as it is now.

    Runs that are read with the same `known` share in memory what their records have in common, which is most.
    """
    found = read_run(home.run(cell["fingerprint"]), cell)
    if known is not None and found.start:
        found.start = _shared(found.start, known)
        found.start["config"] = _shared(found.start["config"], known)
    return found


def _shared(node: Node, known: dict[str, Node]) -> Node:
    """The same, each part of it the first one that was equal."""
    return {
        sys.intern(k): known.setdefault(repr(v), v) if isinstance(v, dict) and k != "config" else v
        for k, v in node.items()
    }


def read_run(run: Run, cell: Node | None = None) -> Replica:
    """A run as it is now; its result first, so that a finished run's journal is whole."""
    cell = cell or {"overrides": []}
    try:
        result, events = run.history()
    except store.DamagedError as error:
        return Replica(id=run.id, cell=cell, status=DAMAGED, error=str(error))
    done = result is not None and result.status == store.FINISHED
    status = store.UNFINISHED if result is None else result.status
    if not done and run.claimed:
        status = RUNNING
    elif not events and result is None:
        status = MISSING
    starts = [event for event in events if event["event"] == store.START]
    ends = [event for event in events if event["event"] in (store.START, store.RESUME, store.END)]
    return Replica(
        id=run.id,
        cell=cell,
        status=status,
        stop_reason=result.stop_reason if result else None,
        metrics=result.metrics if result else {},
        epochs=store.epochs_of(events),
        start=starts[-1] if starts else {},
        error=ends[-1].get("error") if ends else None,
    )


def group(replicas: Iterable[Replica]) -> list[Group]:
    """Replicas by config, in the order of their first ones.

    A cell without a journal goes where the others with its overrides (but for the seed) are.
    """
    found: dict[str, Group] = {}
    by_overrides: dict[str, str] = {}
    for replica in sorted(replicas, key=lambda r: not r.start):
        given = _given(replica.cell["overrides"])
        typed = json.dumps(sorted(given.items()))
        if replica.start:
            values = asked(replica.start)
            key = json.dumps({k: _number(v) for k, v in values.items() if v is not None}, sort_keys=True)
        else:
            values, key = {k: parsed(text) for k, text in given.items()}, by_overrides.get(typed, typed)
        by_overrides.setdefault(typed, key)
        place = found.setdefault(key, Group(values=values, choices=given))
        place.choices = {k: text for k, text in place.choices.items() if given.get(k) == text}
        place.replicas.append(replica)
    for one in found.values():
        one.replicas.sort(key=lambda r: (r.seed is None, r.seed))
    return list(found.values())


def asked(start: Node) -> Node:
    """What a run was asked to compute, flat: its config without seed and places; shortened digests."""
    flat = {k: v for k, v in config.flat(start["config"]).items() if _is_asked(k)}
    monitor, mode = metrics.watched(start["config"])
    flat |= {"trainer.monitor": monitor, "trainer.mode": mode}
    digests = {"data.digest": start.get("data", {}).get("digest", "")}
    digests |= {f"code.{module}": digest for module, digest in (start.get("code") or {}).items()}
    return flat | {name: str(digest)[:DIGITS] for name, digest in digests.items()}


def _is_asked(key: str) -> bool:
    return key != "seed" and key not in HOW and not key.startswith(PLACES)


def columns(groups: Sequence[Group]) -> list[str]:
    """The swept keys: those of the command line whose values differ, and what else tells groups apart."""
    typed = dict.fromkeys(key for one in groups for key in one.choices)
    differ = [key for key in typed if len({one.text(key) for one in groups}) > 1]
    buckets: dict[tuple[str, ...], list[Group]] = {}
    for one in groups:
        buckets.setdefault(tuple(one.text(key) for key in differ), []).append(one)
    for alike in (several for several in buckets.values() if len(several) > 1):
        keys = dict.fromkeys(key for one in alike for key in one.values if key not in differ)
        differ += [key for key in keys if len({one.text(key) for one in alike}) > 1]
    return differ if len(groups) > 1 else list(typed)


def short(keys: Sequence[str]) -> list[str]:
    """The shortest clear names (`model.hidden` -> `hidden`)."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        end if last.count(end) == 1 and not end.startswith("_") else key for key, end in zip(keys, last, strict=True)
    ]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _given(overrides: Sequence[str]) -> dict[str, str]:
    """Key -> text of the overrides that say what to compute, in YAML's spelling."""
    pairs = ((_key(override), override.partition("=")[2]) for override in overrides)
    return {key: show(parsed(text)) for key, text in pairs if _is_asked(key) and key not in ("tracking", "store")}


def parsed(text: str) -> Any:
    """An override's value: Hydra hands swept ones on in Python's spelling."""
    if text in WORDS:
        return WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, str):
        return value
    return json.dumps(_number(value), separators=(",", ":"), ensure_ascii=False, default=str)


def _number(value: Any) -> Any:
    """Numbers that are equal are the same number."""
    if isinstance(value, list):
        return [_number(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def finite(value: Any) -> Any:
    """For JSON, which has no nan and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
