"""A comparison: groups ranked by the monitored metric, and their differences from a baseline, paired by seed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeplab import config, metrics, store
from sweeplab.compare import groups as grouping
from sweeplab.compare import statistics
from sweeplab.compare.groups import TO_TARGET, Group, Node, Replica
from sweeplab.compare.target import Target, bound, target_of
from sweeplab.errors import UserError, did_you_mean
from sweeplab.store import Store

TARGET = 0.98  # of an accuracy, unless another is asked for or all runs stop at one
MOST_METRICS = 100  # groups whose means the MLflow parent run gets


@dataclass(kw_only=True, slots=True)
class Contrast:
    """A group against the one that differs from it in the baseline's keys alone; None if there is no such group."""

    group: Group
    against: Group | None
    paired: statistics.Paired
    said: str
    bound: str = ""  # at least | at most: how the difference of epochs would change without a limit of epochs


@dataclass(kw_only=True)
class Comparison:
    """What came out of one or several sweeps."""

    sweeps: list[Node]  # their manifests
    monitor: str
    mode: str  # of the monitor: max | min
    score: str  # the test metric: reported, never selected by
    goal: Target | None  # of the monitored metric, for epochs to it
    columns: list[str]  # the swept keys
    groups: list[Group]  # the best first
    baseline: dict[str, str] = field(default_factory=dict)
    contrasts: dict[str, list[Contrast]] = field(default_factory=dict)  # by metric

    @property
    def target(self) -> float | None:
        """The value of the monitored metric to which epochs are counted."""
        return None if self.goal is None else self.goal.value

    @property
    def limit(self) -> int | None:
        """Epochs at which a run counts that does not reach the target."""
        return None if self.goal is None else self.goal.limit

    @property
    def replicas(self) -> list[Replica]:
        return [replica for one in self.groups for replica in one.replicas]

    @property
    def title(self) -> str:
        if len(self.sweeps) == 1:
            return str(self.sweeps[0]["name"])
        experiments = {sweep["experiment"] for sweep in self.sweeps} - {None}
        return f"{len(self.sweeps)} sweeps" + (f" of {', '.join(sorted(experiments))}" if experiments else "")

    def statuses(self) -> str:
        """`10 runs of 2 configs: 9 finished, 1 failed`."""
        counts = Counter(replica.status for replica in self.replicas)
        said = ", ".join(
            f"{count} {status}"
            for status, count in sorted(counts.items(), key=lambda c: (c[0] != store.FINISHED, c[0]))
        )
        return f"{_count(len(self.replicas), 'run')} of {_count(len(self.groups), 'config')}: {said}"

    def troubles(self) -> list[tuple[Group, Replica, str]]:
        """Every run that is not in all means, and why."""
        wanted = (self.monitor, self.score)
        return [(g, r, why) for g in self.groups for r in g.replicas if (why := r.trouble(wanted))]

    @property
    def importance(self) -> dict[str, float]:
        """Key -> its share, of a single search that has had enough trials to tell."""
        return dict(self.sweeps[0].get("search", {}).get("importance", {})) if len(self.sweeps) == 1 else {}

    def notes(self) -> list[str]:
        """What a reader has to know before believing the ranking."""
        means = [one.mean(self.monitor) for one in self.groups]
        known = [m for m in means if m is not None]
        said = []
        if not known:
            said.append(f"no run has a {self.monitor} to compare yet")
        elif max(m.n for m in known) == 1:
            said.append("one seed each: chance alone makes differences; several tell, as in 'seed=range(5)'")
        elif len(known) > 2 or (len(known) == 2 and not self.baseline):
            said.append(self._overlap(known))
        other = {r.watched()[0] for r in self.replicas if r.start} - {self.monitor}
        if other:
            said.append(f"the best epoch of some runs was chosen by {', '.join(sorted(other))}, not by {self.monitor}")
        if self.goal is not None:
            said += self.goal.notes(self.groups)
        made = self.machines()
        if len(made) > 1:
            said.append("made in different ways, so seconds do not compare: " + "; ".join(made))
        return said

    def _overlap(self, known: Sequence[statistics.Mean]) -> str:
        best, *rest = known
        if best.half is None:
            return "the best has one seed only: nothing is known about its spread"
        sign = 1 if self.mode == "max" else -1
        edge = best.mean - sign * best.half
        close = sum(1 for m in rest if m.half is None or sign * (m.mean + sign * m.half) >= sign * edge)
        if not close:
            return "no other interval overlaps with that of the best"
        hint = "" if self.baseline else "; --baseline KEY=VALUE pairs by seed, which can tell more"
        overlap = "1 other interval overlaps" if close == 1 else f"{close} other intervals overlap"
        return f"too close to call: {overlap} with that of the best{hint}"

    def machines(self) -> list[str]:
        """`20 runs: cpu, 1 thread, torch 2.15.0, Linux-...`, the most frequent first."""
        found = Counter(
            _machine(replica.start["provenance"]) for replica in self.replicas if "provenance" in replica.start
        )
        return [f"{_count(count, 'run')}: {machine}" for machine, count in found.most_common()]

    def metrics(self) -> dict[str, float]:
        """For the MLflow parent run: the best group's means, and those of the first 100 groups, finite all."""
        found: dict[str, float] = {}
        for rank, one in enumerate(self.groups[:MOST_METRICS]):
            name = re.sub(r"[^\w .:/-]+", "-", one.name.replace("=", ":"))[:150] or "all"
            for metric in (self.monitor, self.score, TO_TARGET, metrics.PARAMETERS):
                if (mean := one.mean(metric)) is None:
                    continue
                if rank == 0:
                    found[f"best/{metric}"] = mean.mean
                    if metric == TO_TARGET:
                        found["best/without_target"] = float(len(one.late))
                if metric in (self.monitor, self.score):
                    found[_free(f"group/{metric}/{name}", found)] = mean.mean
        return found

    def markdown(self) -> str:
        """The table, for the MLflow parent run's description."""
        from sweeplab.compare import tables

        return tables.markdown(self)


def summarise(home: Store, sweep_id: str) -> Comparison:
    """What came out of this sweep so far. Raises UserError if the store has none of it."""
    return compare(home, [home.manifest(sweep_id)])


def compare(
    home: Store,
    sweeps: Sequence[Node],
    *,
    where: str | None = None,
    baseline: Mapping[str, str] | None = None,
    target: float | None = None,
) -> Comparison:
    """The runs of all these sweeps, each once.

    `where` keeps those whose config makes the expression true. `baseline` maps swept keys to the values that others are
    compared with; unless told otherwise it is that of the latest sweep (`sweep.baseline`), and of two groups the one
    that came first. Raises UserError for a baseline or a target that is none, or if no run is left.
    """
    cells = {cell["fingerprint"]: cell for sweep in sweeps for cell in sweep["cells"]}
    known: dict[str, Node] = {}
    replicas = [grouping.read(home, cell, known) for cell in cells.values()]
    kept = replicas if where is None else _where(replicas, where)
    if not kept:
        raise UserError(f"--where={where}: none of {len(replicas)} runs" if replicas else "the sweep has no runs yet")
    found = grouping.group(kept)
    monitor, mode, score = _watched(kept)
    goal = _goal(kept, monitor, mode, target)
    columns = _named(found)
    for one in found:
        one.measured = _measured(one.replicas, monitor)
    if goal is not None:
        goal.measure(found)
    first = dict(zip(columns, found[0].cells, strict=True)) if len(found) == 2 else {}
    result = Comparison(
        sweeps=list(sweeps),
        monitor=monitor,
        mode=mode,
        score=score,
        goal=goal,
        columns=columns,
        groups=_ranked(found, monitor, mode),
    )
    result.baseline = _baseline(result, baseline) if baseline else _own_baseline(result) or first
    if result.baseline:
        # Where every run stops at the target, the question is how soon it gets there.
        order = (monitor, score, TO_TARGET) if _common_target(kept) is None else (TO_TARGET, monitor, score)
        measured = {name for one in found for name in one.measured} | {monitor, score}
        result.contrasts = {name: _contrasts(result, name) for name in order if name in measured}
    return result


def _named(found: Sequence[Group]) -> list[str]:
    """Give each group its cells and its name; the columns."""
    columns = grouping.columns(found)
    for one in found:
        one.cells = [one.text(column) for column in columns]
        pairs = zip(grouping.short(columns), one.cells, strict=True)
        one.name = " ".join(f"{key}={text}" for key, text in pairs if text != grouping.DEFAULT)
    return columns


def _where(replicas: Sequence[Replica], text: str) -> list[Replica]:
    """Those that fit. A cell that was never started is judged by what is known of it, kept if that is too little."""
    from sweeplab.expression import Expression

    expression = Expression.read(text, "--where")
    kept = []
    for one in grouping.group(replicas):
        for replica in one.replicas:
            known = config.flat(replica.start["config"]) if replica.start else {**one.values, "seed": replica.seed}
            try:
                fits = expression.holds(known)
            except UserError:
                if replica.start:
                    raise
                fits = True
            if fits:
                kept.append(replica)
    return kept


def _watched(replicas: Sequence[Replica]) -> tuple[str, str, str]:
    """(monitor, mode, test metric) of most runs."""
    found = Counter((*r.watched(), r.start["config"].get("data", {}).get("task")) for r in replicas if r.start)
    default = (metrics.default_monitor(metrics.CLASSIFICATION), "max", metrics.CLASSIFICATION)
    monitor, mode, task = found.most_common(1)[0][0] if found else default
    return monitor, mode, f"{metrics.TEST}/{metrics.score(task or metrics.CLASSIFICATION)}"


def _goal(replicas: Sequence[Replica], monitor: str, mode: str, asked: float | None) -> Target | None:
    """The target that is asked for, else the one at which all runs stop, else that of an accuracy."""
    if asked is not None and not math.isfinite(asked):
        raise UserError(f"--target={asked}: must be a finite number")
    asked = _common_target(replicas) if asked is None else asked
    if asked is not None:
        return target_of(replicas, monitor, mode, asked)
    if monitor.endswith(metrics.ACCURACY):
        return target_of(replicas, monitor, mode, TARGET, asked=False)
    return None


def _common_target(replicas: Sequence[Replica]) -> float | None:
    """The target at which all runs stop; None if there is none, or not one."""
    given = {r.start["config"].get("trainer", {}).get("target") for r in replicas if r.start}
    return float(only) if len(given) == 1 and (only := given.pop()) is not None else None


def _measured(replicas: Sequence[Replica], monitor: str) -> dict[str, dict[str, float]]:
    """Metric -> run id -> its value, of finished runs, where it is finite; the monitored one at the best epoch."""
    found: dict[str, dict[str, float]] = {}
    for replica in replicas:
        if replica.status != store.FINISHED:
            continue
        values = replica.metrics | {k: v for k, v in replica.chosen.items() if k == monitor}
        for name, value in values.items():
            if math.isfinite(value):
                found.setdefault(name, {})[replica.id] = value
    return found


def _ranked(found: Sequence[Group], monitor: str, mode: str) -> list[Group]:
    """The best mean first, of equal ones that with fewer parameters; those without one last."""

    def key(one: Group) -> tuple[bool, float, float]:
        mean, size = one.mean(monitor), one.mean(metrics.PARAMETERS)
        sign = -1.0 if mode == "max" else 1.0
        return mean is None, sign * mean.mean if mean else 0.0, size.mean if size else math.inf

    return sorted(found, key=key)


def baseline_of(texts: Sequence[str]) -> dict[str, str]:
    """`["a=1,b=[2,3]", "c=x"]` as keys and values. Raises UserError for what is no `key=value`."""
    result: dict[str, str] = {}
    for text in (part for given in texts for part in re.split(r",(?=[\w.@/+]+=)", given)):
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UserError(f"baseline {text}: must be KEY=VALUE of a swept key, as in model.batch_norm=false")
        result[key] = value
    return result


def _own_baseline(found: Comparison) -> dict[str, str]:
    """That of the latest sweep; none where the compared runs have not got it."""
    asked = found.sweeps[-1].get("baseline")
    try:
        return _baseline(found, baseline_of([asked])) if asked else {}
    except UserError:
        return {}


def _baseline(found: Comparison, given: Mapping[str, str]) -> dict[str, str]:
    """The baseline with whole keys and the values as shown. Raises UserError for a key or value that was not swept."""
    names = dict(zip(grouping.short(found.columns), found.columns, strict=True)) | {c: c for c in found.columns}
    result: dict[str, str] = {}
    for key, text in given.items():
        if key not in names:
            raise UserError(f"--baseline {key}={text}: {key} is not a swept key{did_you_mean(key, found.columns)}")
        index = found.columns.index(names[key])
        values = list(dict.fromkeys(one.cells[index] for one in found.groups))
        asked = grouping.show(grouping.parsed(text))
        if asked not in values:
            raise UserError(f"--baseline {key}={text}: no run has that value{did_you_mean(asked, values)}")
        result[names[key]] = asked
    return result


def _contrasts(found: Comparison, metric: str) -> list[Contrast]:
    """Each group against its baseline; p corrected for the number of these comparisons."""
    by_cells = {tuple(one.cells): one for one in found.groups}
    more = metrics.default_mode(metric) == "max" if metric != found.monitor else found.mode == "max"
    pairs = []
    for one in found.groups:
        cells = tuple(found.baseline.get(key, text) for key, text in zip(found.columns, one.cells, strict=True))
        if cells != tuple(one.cells):
            pairs.append((one, by_cells.get(cells)))
    tests = [statistics.paired(one.by_seed(metric), to.by_seed(metric) if to else {}) for one, to in pairs]
    corrected = statistics.holm([test.p for test in tests])
    tests = [replace(test, holm=p) for test, p in zip(tests, corrected, strict=True)]
    contrasts = []
    for (one, to), test in zip(pairs, tests, strict=True):
        if to is None:
            contrasts.append(Contrast(group=one, against=None, paired=test, said="no such baseline was run"))
            continue
        late: set[int] = set()
        late_baseline: set[int] = set()
        if metric == TO_TARGET:
            common = one.by_seed(metric).keys() & to.by_seed(metric).keys()
            late, late_baseline = one.late_seeds() & common, to.late_seeds() & common
        within = "within the limit " if late or late_baseline else ""
        said = statistics.verdict(test, more_is_better=more, within=within)
        told = "" if test.difference is None else bound(test.difference.mean, late, late_baseline)
        contrasts.append(Contrast(group=one, against=to, paired=test, said=said, bound=told))
    return contrasts


def _machine(provenance: Mapping[str, Any]) -> str:
    threads, versions = provenance.get("threads"), provenance.get("versions", {})
    instructions = provenance.get("torch", {}).get("cpu_capability")  # AVX512, say: they round differently
    system = str(provenance.get("platform", "")).partition("-")[0]
    words = (provenance.get("device"), instructions, threads and _count(threads, "thread"))
    return ", ".join(str(word) for word in (*words, f"torch {versions.get('torch')}", system) if word)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"


def _free(name: str, taken: Mapping[str, float]) -> str:
    """The name, numbered if it is taken: what MLflow does not allow in names was replaced."""
    return next(n for n in (name, *(f"{name} {i}" for i in range(2, MOST_METRICS + 2))) if n not in taken)
