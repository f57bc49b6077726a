"""What a reader has to know before believing a ranking."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from sweeplab import metrics
from sweeplab.compare import statistics
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.contrasts import has_pairs
from sweeplab.compare.groups import Group
from sweeplab.compare.needs import need_notes
from sweeplab.compare.runs import Replica, sign_of
from sweeplab.config import Node
from sweeplab.console import counted

MOST_PAIRS_SHOWN = 3  # of values of a key, or of groups
MOST_VALUES = 30  # of a key, whose pairs are looked at


def ranking_notes(comparison: Comparison) -> list[str]:
    """Say how far the ranking can be believed, and which of its runs were made otherwise."""
    lines = list(filter(None, map(_start_note, comparison.sweeps)))
    monitor = comparison.monitor
    lines += filter(None, [lead_note(comparison)])
    if comparison.is_folded:
        lines.append(
            "n counts folds: intervals and p tell of other examples, not of other seeds, and are "
            "corrected for training sets that overlap (Nadeau and Bengio 2003); more folds or "
            "seeds bring no further examples, so no number of pairs is called enough"
        )
    shown = filter(has_pairs, comparison.contrasts.values())
    lines += need_notes(next(shown, []))
    monitors = {metrics.watched(run.start)[0] for run in comparison.replicas if run.start}
    others = ", ".join(sorted(monitors - {monitor}))
    if others:
        lines.append(f"the best epoch of some runs was chosen by {others}, not by {monitor}")
    if comparison.goal is not None:
        lines += comparison.goal.notes(comparison.groups)
    made_on = machines(comparison.replicas)
    if len(made_on) > 1:
        lines.append(f"made in different ways, so seconds do not compare: {'; '.join(made_on)}")
    return lines


def lead_note(comparison: Comparison) -> str:
    """Say how far the best config leads, without a test; '' where only a test can tell."""
    monitor = comparison.monitor
    means = [mean for group in comparison.groups if (mean := group.mean(monitor)) is not None]
    if not means:
        return f"no run has a {monitor} to compare yet"
    if max(mean.n for mean in means) == 1:
        return _only_one(is_folded=comparison.is_folded)
    if comparison.looks is None and len(means) > 1 + bool(comparison.baseline):
        return _overlap_note(means, comparison.mode, has_baseline=bool(comparison.baseline))
    return ""


def _start_note(sweep: Node) -> str:
    """Say what a sweep took from another one (`sweep.from`); '' if it took nothing."""
    start = sweep.get("from")
    if not start:
        return ""
    taken = " ".join(start["taken"]) or "none of its values"
    return f"starts from the best of sweep {start['sweep'][:12]} (sweep.from={start['asked']}): {taken}"


def _only_one(*, is_folded: bool) -> str:
    """Say that one run of each config tells little, and which further ones tell more."""
    what, several = "seed", "'seed=range(5)'"
    if is_folded:
        what, several = "fold", "data.folds=5 'data.fold=range(5)'"
    return f"one {what} each: chance alone makes differences; several tell, as in {several}"


def _overlap_note(means: Sequence[statistics.Mean], mode: str, *, has_baseline: bool) -> str:
    """Say how many confidence intervals overlap with that of the best, which comes first."""
    best, *rest = means
    if best.half is None:
        return "the best has one seed only: nothing is known about its spread"
    sign = sign_of(mode)
    edge = sign * (best.mean - sign * best.half)
    close = sum(
        1 for mean in rest if mean.half is None or sign * (mean.mean + sign * mean.half) >= edge
    )
    if not close:
        return "no other interval overlaps with that of the best"
    hint = "" if has_baseline else "; --baseline KEY=VALUE pairs by seed, which can tell more"
    intervals = "1 other interval overlaps" if close == 1 else f"{close} other intervals overlap"
    return f"too close to call: {intervals} with that of the best{hint}"


# --- the machines that the runs were made on


def machines(replicas: Sequence[Replica]) -> list[str]:
    """List `20 runs: cpu, 1 thread, torch 2.15.0, Linux`, the most frequent first."""
    starts = [run.start for run in replicas if "provenance" in run.start]
    counts = Counter(_machine(start["provenance"]) for start in starts)
    return [f"{counted(number, 'run')}: {machine}" for machine, number in counts.most_common()]


def _machine(provenance: Mapping[str, Any]) -> str:
    threads = provenance.get("threads")
    words = [
        provenance.get("device"),
        provenance.get("torch", {}).get("cpu_capability"),  # AVX512, say: they round differently
        threads and counted(threads, "thread"),
        f"torch {provenance.get('versions', {}).get('torch')}",
        str(provenance.get("platform", "")).partition("-")[0],
    ]
    return ", ".join(str(word) for word in words if word)


# --- swept keys that had no effect: runs of one seed that came to the same weights, bit for bit


def no_effect_notes(columns: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Name each column that had no effect on the weights, at all or between some of its values."""
    notes = []
    explained: set[frozenset[Group]] = set()
    for index, column in enumerate(columns):
        pairs = list(_pairs(index, groups))
        equal = [pair for pair in pairs if _have_same_weights(*pair)]
        explained |= {frozenset(pair) for pair in equal}
        note = f"{column} had no effect on the weights"
        if equal and len(equal) == len(pairs):
            notes.append(f"{note}: they are the same whatever its value")
        elif equal:
            values = _listed([_two_values(index, *pair) for pair in equal])
            notes.append(f"{note} between {values}")
    others = [pair for pair in _twins(groups) if frozenset(pair) not in explained]
    if others:
        names = [f"{a.name} and {b.name}" for a, b in others]
        notes.append(f"the same weights came out of {_listed(names)}")
    return notes


def _pairs(index: int, groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Yield the pairs of groups that differ in this column alone and share a finished seed."""
    buckets: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        buckets[(*group.cells[:index], *group.cells[index + 1 :])].append(group)
    for bucket in buckets.values():
        for a, b in combinations(bucket[:MOST_VALUES], 2):
            if _weights(a).keys() & _weights(b).keys():
                yield a, b


def _twins(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Yield groups whose replicas all have the same weights, each with the first such group."""
    first: dict[frozenset[tuple[Hashable, str]], Group] = {}
    for group in groups:
        weights = frozenset(_weights(group).items())
        if weights:
            twin = first.setdefault(weights, group)
            if twin is not group:
                yield twin, group


def _have_same_weights(a: Group, b: Group) -> bool:
    weights_a, weights_b = _weights(a), _weights(b)
    return all(weights_a[seed] == weights_b[seed] for seed in weights_a.keys() & weights_b.keys())


def _weights(group: Group) -> dict[Hashable, str]:
    """Map seed to the digest of the final weights, of the runs that have some."""
    weights = {
        group.replica_key(run): run.weights for run in group.replicas if run.weights is not None
    }
    weights.pop(None, None)
    return weights


def _two_values(index: int, a: Group, b: Group) -> str:
    """Write `8 and 16 (with true)`: two values of a column, and those of the others."""
    values = f"{a.cells[index]} and {b.cells[index]}"
    rest = [*a.cells[:index], *a.cells[index + 1 :]]
    return f"{values} (with {' '.join(rest)})" if rest else values


def _listed(texts: Sequence[str]) -> str:
    shown = "; ".join(texts[:MOST_PAIRS_SHOWN])
    if len(texts) > MOST_PAIRS_SHOWN:
        shown += f" and {counted(len(texts) - MOST_PAIRS_SHOWN, 'more pair')}"
    return shown
