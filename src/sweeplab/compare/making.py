"""Comparisons made: the runs of sweeps read, grouped, ranked, and compared with a baseline, paired by seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from sweeplab import metrics, store
from sweeplab.compare import baseline as baselines
from sweeplab.compare import groups as grouping
from sweeplab.compare import statistics, units
from sweeplab.compare.comparison import Comparison, Contrast
from sweeplab.compare.effects import without_effect
from sweeplab.compare.groups import TO_TARGET, Group
from sweeplab.compare.replicas import SEED, Node, Replica, read
from sweeplab.compare.target import Target, bound, target_of
from sweeplab.errors import UserError
from sweeplab.store import Store

TARGET = 0.98  # of an accuracy, unless another is asked for or all runs stop at one


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

    `where` keeps those whose config fulfils the condition. `baseline` maps swept keys to the values that others are
    compared with; unless told otherwise it is that of the latest sweep (`sweep.baseline`), and of two groups the one
    that came first. Raises UserError for a baseline or a target that is none, or if no run is left.
    """
    known: dict[str, Node] = {}
    replicas = [read(home, cell, known) for cell in _cells(sweeps)]
    over = list(dict.fromkeys(key for sweep in sweeps for key in sweep.get("replicate", [SEED])))
    kept = replicas if where is None else _where(replicas, over, where)
    if not kept:
        raise UserError(f"--where={where}: none of {len(replicas)} runs" if replicas else "the sweep has no runs yet")
    found = grouping.group(kept, over)
    columns = grouping.named(found)
    watched, score = _watched(kept)
    ranking, remarks = _ranking(watched, score, found)
    monitor, mode = ranking
    if target is not None and (why := metrics.unreachable(monitor, target)):
        raise UserError(f"--target={target:g}: {why}")
    goal = _goal(kept, monitor, mode, target, common=ranking == watched)
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
        remarks=remarks,
    )
    if baseline:
        result.baseline = baselines.find(columns, result.groups, baseline, "--baseline ")
    else:
        result.baseline = _own_baseline(result) or first
    if result.baseline:
        # Where every run stops at the target, the question is how soon it gets there.
        order = (monitor, score, TO_TARGET) if _common_target(kept) is None else (TO_TARGET, monitor, score)
        measured = {name for one in found for name in one.measured} | {monitor, score}
        result.contrasts = {name: _contrasts(result, name) for name in order if name in measured}
    result.remarks += without_effect(columns, result.groups)
    return result


def _cells(sweeps: Sequence[Node]) -> list[Node]:
    """The cells of all sweeps, each run once, with all that any of the sweeps was given for it; the later one holds."""
    found: dict[str, Node] = {}
    for sweep in sweeps:
        for cell in sweep["cells"]:
            before = found.get(cell["fingerprint"])
            values = {} if before is None else grouping.given(before)
            found[cell["fingerprint"]] = cell if before is None else cell | {"values": values | grouping.given(cell)}
    return list(found.values())


def _where(replicas: Sequence[Replica], over: Sequence[str], text: str) -> list[Replica]:
    """Those that fit. A cell that was never started is judged by what is known of it, kept if that is too little.

    A key that only some of the runs have is null in the others.
    """
    from sweeplab.config.where import Condition

    condition = Condition.read(text, "--where")
    configs = {run.id: run.told() for run in replicas if run.start}
    lacking = dict.fromkeys(key for values in configs.values() for key in values)
    kept = []
    for one in grouping.group(replicas, over):
        for replica in (*one.replicas, *one.repeated):
            replicated = {key: replica.value(key) for key in over}
            values = lacking | configs[replica.id] if replica.start else {**one.values, **replicated}
            try:
                fits = condition.holds(values)
            except UserError:
                if replica.start:
                    raise
                fits = True
            if fits:
                kept.append(replica)
    return kept


def _watched(replicas: Sequence[Replica]) -> tuple[tuple[str, str], str]:
    """((monitor, mode), test metric) of most runs."""
    found = Counter((*r.watched(), r.start["config"].get("data", {}).get("task")) for r in replicas if r.start)
    default = (metrics.default_monitor(metrics.CLASSIFICATION), "max", metrics.CLASSIFICATION)
    monitor, mode, task = found.most_common(1)[0][0] if found else default
    return (monitor, mode), f"{metrics.TEST}/{metrics.score(task or metrics.CLASSIFICATION)}"


def _ranking(watched: tuple[str, str], score: str, found: Sequence[Group]) -> tuple[tuple[str, str], list[str]]:
    """What ranks the groups, as (metric, mode), and what is to be said of it.

    That is what the runs watched, unless it is another number in each group and their score on the validation examples
    is not.
    """
    monitor = watched[0]
    keys = units.differing(monitor, monitor, found)
    if not keys:
        return watched, []
    other = score.replace(metrics.TEST, metrics.VALID, 1)
    measured = any(other in values for one in found for run in one.replicas for values in run.epochs.values())
    if other == monitor or not measured or units.differing(other, other, found):
        return watched, [units.sentence(monitor, keys, None)]
    return (other, metrics.default_mode(other)), [units.sentence(monitor, keys, other)]


def _goal(replicas: Sequence[Replica], monitor: str, mode: str, asked: float | None, *, common: bool) -> Target | None:
    """The target that is asked for, else (if that is in `common`) the one at which all runs stop, else that of an
    accuracy.
    """
    asked = _common_target(replicas) if asked is None and common else asked
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
        if replica.status != store.Status.FINISHED:
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


def _own_baseline(found: Comparison) -> dict[str, str]:
    """That of the latest sweep; none, which is said, where the compared runs have not got it."""
    asked = found.sweeps[-1].get("baseline")
    if not asked:
        return {}
    try:
        return baselines.find(found.columns, found.groups, baselines.read([asked]), "sweep.baseline: ")
    except UserError as error:
        found.remarks.append(f"{error}; so there is no baseline")
        return {}


def _contrasts(found: Comparison, metric: str) -> list[Contrast]:
    """Each group against its baseline; p corrected for the number of these comparisons."""
    by_cells = {tuple(one.cells): one for one in found.groups}
    more = metrics.default_mode(metric) == "max" if metric != found.monitor else found.mode == "max"
    pairs = []
    for one in found.groups:
        cells = tuple(found.baseline.get(key, text) for key, text in zip(found.columns, one.cells, strict=True))
        if cells != tuple(one.cells):
            pairs.append((one, by_cells.get(cells)))
    tests = [_paired(metric, found.monitor, one, to) for one, to in pairs]
    corrected = statistics.holm([test.p for test in tests])
    tests = [replace(test, holm=p) for test, p in zip(tests, corrected, strict=True)]
    contrasts = []
    for (one, to), test in zip(pairs, tests, strict=True):
        if to is None:
            contrasts.append(Contrast(group=one, against=None, paired=test, said="no such baseline was run"))
            continue
        if other := units.differing(metric, found.monitor, (one, to)):
            said = f"another number: {', '.join(other[:2])}{', ...' if len(other) > 2 else ''}"
            contrasts.append(Contrast(group=one, against=to, paired=test, said=said))
            continue
        late: set[Hashable] = set()
        late_baseline: set[Hashable] = set()
        if metric == TO_TARGET:
            common = one.by_replica(metric).keys() & to.by_replica(metric).keys()
            late, late_baseline = one.late_replicas() & common, to.late_replicas() & common
        within = "within the limit " if late or late_baseline else ""
        said = _nothing_to_pair(metric, one, to) or statistics.verdict(test, more_is_better=more, within=within)
        told = "" if test.difference is None else bound(test.difference.mean, late, late_baseline)
        contrasts.append(Contrast(group=one, against=to, paired=test, said=said, bound=told))
    return contrasts


def _nothing_to_pair(metric: str, one: Group, to: Group) -> str:
    """Why there is no pair although both were run under the same seeds; '' if there is one, or no seed in common."""
    for side, whose in ((one, ""), (to, "the baseline ")):
        if side.replicas and not side.by_replica(metric):
            return f"{whose}{_all_without(metric, side)}"
    seeds = [{side.replica_of(run) for run in side.replicas} - {None} for side in (one, to)]
    if seeds[0] & seeds[1] and not one.by_replica(metric).keys() & to.by_replica(metric).keys():
        return f"no seed with {metric} on both sides: nothing can be told"
    return ""


def _all_without(metric: str, side: Group) -> str:
    """`diverged in all 3 runs`, `without valid/f1 in its only run`, `2 failed, 1 missing: no valid/f1`."""
    counts = Counter(run.without(metric) for run in side.replicas)
    if len(counts) > 1:
        return f"{', '.join(f'{count} {why}' for why, count in sorted(counts.items()))}: no {metric}"
    number = len(side.replicas)
    return f"{next(iter(counts))} in {'its only run' if number == 1 else f'all {number} runs'}"


def _paired(metric: str, monitor: str, one: Group, to: Group | None) -> statistics.Paired:
    """The differences of a group from its baseline; none if there is no baseline, or it has another number."""
    values = one.by_replica(metric)
    if to is None:
        return statistics.paired(values, {}, metrics.bounds(metric))
    if units.differing(metric, monitor, (one, to)):
        return statistics.Paired(difference=None, n_all=len(values.keys() | to.by_replica(metric).keys()))
    return statistics.paired(values, to.by_replica(metric), metrics.bounds(metric))
