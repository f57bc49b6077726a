"""Groups: a group is what several runs were asked alike, its runs are its replicas."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.compare import statistics
from sweeplab.compare.computation import cell_values, computation, group_key
from sweeplab.compare.runs import SEED, Replica
from sweeplab.config import Node

TO_TARGET = "epochs_to_target"
"""A metric of the comparison: the first epoch that reached the target, at most the limit."""
ABSENT = "-"  # a key that the config has not
DEFAULT = "(default)"  # a choice (`model=mlp`) that some sweeps were given and this one was not


@dataclass(kw_only=True, slots=True, eq=False)
class Group:
    """A config under several seeds, or under several values of other keys."""

    values: Node  # flat: what was asked but for `over`, and the digests of data and code
    over: tuple[str, ...]  # the keys whose values tell its replicas apart
    choices: dict[str, str] = field(default_factory=dict)  # override key -> text
    replicas: list[Replica] = field(default_factory=list)  # each value of `over` once
    repeated: list[Replica] = field(default_factory=list)  # earlier runs of such a value
    cells: list[str] = field(default_factory=list)  # its text in each column of the comparison
    name: str = ""  # the same in one line
    level: float = statistics.ALPHA  # at which the interval of a mean misses

    def mean(self, metric: str) -> statistics.Mean | None:
        """Average a metric over the runs that have it."""
        values, bounds = self.measured(metric), metrics.bounds(metric)
        return statistics.mean(values, bounds, self.overlap, self.level)

    def measured(self, metric: str) -> list[float]:
        """List the values of a metric, of the runs that have it; of each fold the mean of its seeds."""
        runs = [run for run in self.replicas if metric in run.measured]
        if not self.is_folded:
            return [run.measured[metric] for run in runs]
        pairs = ((self.unit(self.replica_key(run)), run.measured[metric]) for run in runs)
        return list(statistics.averaged(pairs).values())

    @property
    def is_folded(self) -> bool:
        """Whether its replicas are folds of a cross-validation."""
        return config.FOLD in self.over and "data.folds" in self.values

    @property
    def n(self) -> int:
        """How many replicas it has, folds if there are some."""
        if not self.is_folded:
            return len(self.replicas)
        return len({self.unit(self.replica_key(run)) for run in self.replicas})

    @property
    def overlap(self) -> float:
        """n_test / n_train of folds, by which `statistics` corrects their variance; else 0."""
        sizes = [run.start["data"] for run in self.replicas if run.start]
        if not (self.is_folded and sizes):
            return 0.0
        return float(sum(size["test"] for size in sizes) / sum(size["train"] for size in sizes))

    def unit(self, replica: Hashable) -> Hashable:
        """Return what counts as one of n: a replica, or the fold that several seeds have."""
        if not (self.is_folded and isinstance(replica, tuple)):
            return replica
        return tuple(value for key, value in zip(self.over, replica, strict=True) if key != SEED)

    @property
    def late(self) -> list[Replica]:
        """The runs that did not reach the target."""
        return [run for run in self.replicas if run.is_late]

    def replica_key(self, run: Replica) -> Hashable:
        """Return what tells a run from the others of its group: its seed, or values of `over`."""
        values = tuple(_hashable(run.value(key)) for key in self.over)
        if all(value is None for value in values):
            return None
        return values[0] if len(values) == 1 else values

    def by_replica(self, metric: str) -> dict[Hashable, float]:
        """Map seed (or what else is replicated over) to value, for pairing."""
        runs = {self.replica_key(run): run for run in self.replicas if metric in run.measured}
        return {key: run.measured[metric] for key, run in runs.items() if key is not None}

    def late_replicas(self) -> set[Hashable]:
        """Return the seeds whose runs did not reach the target."""
        return {self.replica_key(run) for run in self.late} - {None}

    def text(self, column: str) -> str:
        """Show the value of a key of the config (a dash if there is none), else what was typed."""
        if column in self.values:
            return config.to_text(self.values[column])
        return self.choices.get(column, ABSENT if "." in column else DEFAULT)


def paired_test(metric: str, group: Group, against: Group) -> statistics.Paired:
    """Run the paired t test of a metric: a group less another one, under the same seeds."""
    return statistics.paired(
        group.by_replica(metric),
        against.by_replica(metric),
        metrics.bounds(metric),
        unit=group.unit,
        overlap=max(group.overlap, against.overlap),
    )


def replicas_of(groups: Iterable[Group]) -> list[Replica]:
    """List the replicas of all groups, group by group."""
    return list(chain.from_iterable(group.replicas for group in groups))


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else json.dumps(value)


def group_runs(replicas: Iterable[Replica], over: Sequence[str] = (SEED,)) -> list[Group]:
    """Group replicas by what they were asked, but for the keys of `over`.

    A run that was never started belongs to those of which its sweep says that they are asked alike;
    in a sweep that an earlier version planned, to those of which the same was typed, if that is
    clear.
    """
    groups: dict[str, Group] = {}
    keys_by_parts: dict[Hashable, str] = {}
    keys_by_digest: dict[str, str] = {}
    keys_by_text: dict[str, set[str]] = defaultdict(set)
    for replica in sorted(replicas, key=lambda run: not run.start):
        choices = cell_values(replica.cell)
        typed = json.dumps(sorted(choices.items()))
        digest: str | None = replica.cell.get("group")
        if replica.start:
            parts = _parts(replica.start, over)
            if parts not in keys_by_parts:
                keys_by_parts[parts] = group_key(replica.start, over)
            key = keys_by_parts[parts]
        else:
            same_text = keys_by_text[typed]
            key = next(iter(same_text)) if len(same_text) == 1 else typed
            if digest is not None:
                key = keys_by_digest.get(digest, digest)
        if digest is not None:
            keys_by_digest.setdefault(digest, key)
        keys_by_text[typed].add(key)
        if key not in groups:
            groups[key] = Group(values=_values(replica, choices, over), over=tuple(over))
        group = groups[key]
        group.choices = {**choices, **group.choices}
        group.replicas.append(replica)
    for group in groups.values():
        _keep_one_run_per_seed(group)
    return list(groups.values())


def _parts(start: Node, over: Sequence[str]) -> Hashable:
    """Name what the key of a group is made of; runs that were read together share most parts.

    Parts are named by their addresses, so that equal records may have different names, but
    different ones never have the same.
    """
    if "asked" not in start:
        return id(start)
    asked = [
        (name, id(value) if isinstance(value, dict) else repr(value))
        for name, value in start["asked"].items()
        if name not in over
    ]
    return (*asked, id(start.get("code")), id(start.get("data")))


def _values(replica: Replica, choices: Mapping[str, str], over: Sequence[str]) -> Node:
    """Return what a run is asked to compute; of one that was never started, what was typed."""
    if replica.start:
        return computation(replica.start, over)
    return {name: config.from_text(text) for name, text in choices.items()}


def _keep_one_run_per_seed(group: Group) -> None:
    """Keep the latest finished run of each seed, and all runs of which no seed is known."""

    def by_age(run: Replica) -> tuple[bool, float]:
        return run.status == store.Status.FINISHED, run.start.get("time", 0.0)

    def by_value(run: Replica) -> list[tuple[bool, bool, Any]]:
        """Order numbers by size, then texts; what is not known comes last."""
        order = []
        for value in map(run.value, group.over):
            comparable = value if isinstance(value, int | float | str) else str(value)
            order.append((value is None, isinstance(value, str), comparable))
        return order

    latest: dict[Hashable, Replica] = {}
    for run in sorted(group.replicas, key=by_age):
        key = group.replica_key(run)
        latest[run.id if key is None else key] = run
    kept = set(latest.values())
    group.repeated = [run for run in group.replicas if run not in kept]
    group.replicas = sorted((run for run in group.replicas if run in kept), key=by_value)


def name_groups(groups: Sequence[Group]) -> list[str]:
    """Give each group its cells and its name; returns the columns."""
    _complete_choices(groups)
    columns = swept_keys(groups)
    names = config.short_names(columns)
    for group in groups:
        group.cells = [group.text(column) for column in columns]
        pairs = zip(names, group.cells, strict=True)
        group.name = " ".join(f"{name}={text}" for name, text in pairs if text != DEFAULT)
    return columns


def swept_keys(groups: Sequence[Group]) -> list[str]:
    """Find the keys of the command line whose values differ, and what else tells groups apart."""
    typed = list(dict.fromkeys(key for group in groups for key in group.choices))
    if len(groups) == 1:
        return typed
    columns = [key for key in typed if _differs(groups, key)]
    alike: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        alike[tuple(group.text(key) for key in columns)].append(group)
    for several in alike.values():
        if len(several) == 1:  # most, and to write all values as text takes time
            continue
        keys = dict.fromkeys(key for group in several for key in group.values if key not in columns)
        columns += [key for key in keys if len({group.text(key) for group in several}) > 1]
    return columns


def _differs(groups: Sequence[Group], key: str) -> bool:
    """Tell whether the values of a key differ, where null is the same as having no such key."""
    if "." in key:
        return len({config.to_text(group.values.get(key)) for group in groups}) > 1
    return len({group.text(key) for group in groups}) > 1


def _complete_choices(groups: Sequence[Group]) -> None:
    """Give groups without a choice (`model=mlp`) that of others whose part is the same."""
    for section in (*config.COMPONENTS, "data"):
        key = "data.name" if section == "data" else f"{section}._target_"
        choices: dict[Any, set[str]] = defaultdict(set)
        for group in groups:
            if section in group.choices:
                choices[group.values.get(key, group)].add(group.choices[section])
        for group in groups:
            known = choices[group.values.get(key, group)]
            if len(known) == 1:
                group.choices.setdefault(section, *known)
