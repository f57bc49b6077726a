"""Importance: how much each swept key matters, and how surely that is known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeplab.compare import statistics, variance
from sweeplab.compare.comparability import incomparable_keys
from sweeplab.compare.groups import Group
from sweeplab.compare.variance import Levels, Share
from sweeplab.config import Node
from sweeplab.console import counted


@dataclass(kw_only=True, slots=True, frozen=True)
class Importance:
    """The share of each key, the greatest first; none where they cannot be told."""

    about: str  # what the shares are, or why there are none
    caption: str = ""  # how they were found
    shares: Sequence[Share] = ()


def of_search(search: Node) -> Importance | None:
    """Read what Optuna said of the keys of a search; None if too few trials could tell."""
    if not search.get("importance"):
        return None
    intervals = search.get("importance_intervals", {})
    shares = []
    for key, share in search["importance"].items():
        low, high = intervals.get(key, (None, None))
        shares.append(Share(name=key, share=share, low=low, high=high))
    how = "interval: bootstrap over trials" if intervals else "no interval: too few trials for one"
    what = "how much each key explains which trials came out well (Optuna's default measure)"
    return Importance(
        about="importance in the search",
        caption=f"{what}; {how}",
        shares=shares,
    )


def of_grid(columns: Sequence[str], groups: Sequence[Group], metric: str) -> Importance | None:
    """Divide the variance of the monitored metric among the keys; None if there is nothing to
    divide: less than two keys, or no variance.

    Takes the configs that have a value, and the seeds under which all of these have one.
    """
    import numpy as np

    groups = [group for group in groups if group.by_replica(metric)]
    levels = {}
    for column in columns:
        texts = [group.text(column) for group in groups]
        if len(set(texts)) > 1:
            levels[column] = texts
    if len(levels) < 2:
        return None
    by_seed = [_by_unit(group, metric) for group in groups]
    seeds = [seed for seed in by_seed[0] if all(seed in values for values in by_seed)]
    about = f"importance for {metric}"
    if reason := _why_not(levels, groups, metric, has_seeds=bool(seeds)):
        return Importance(about=f"{about} cannot be told: {reason}")
    values = np.array([[found[seed] for seed in seeds] for found in by_seed])
    if np.ptp(values) == 0:
        return None
    is_folded = groups[0].is_folded
    over = "folds" if is_folded else " and ".join(groups[0].over)
    shares = variance.divide(levels, values, intervals=not is_folded)
    keys, rest = shares[: len(levels)], shares[len(levels) :]
    rest[-1] = replace(rest[-1], name=f"{rest[-1].name} ({over})")
    return Importance(
        about=about,
        caption="; ".join(_how(levels, by_seed, len(seeds), is_folded=is_folded)),
        shares=[*sorted(keys, key=lambda key: -key.share), *rest],
    )


def _by_unit(group: Group, metric: str) -> dict[Hashable, float]:
    """Map seed to value; of a cross-validation, fold to the mean of its seeds."""
    pairs = group.by_replica(metric).items()
    return statistics.averaged((group.unit(key), value) for key, value in pairs)


def _why_not(levels: Levels, groups: Sequence[Group], metric: str, *, has_seeds: bool) -> str:
    """Say why the variance cannot be divided; '' if it can."""
    if not has_seeds:
        return "no seed has a value in every config"
    differing = incomparable_keys(metric, metric, groups)
    if differing:
        return f"it is another number where {differing[0]} is"
    return variance.why_indivisible(levels)


def _how(
    levels: Levels, by_seed: Sequence[Mapping[Hashable, float]], n_seeds: int, *, is_folded: bool
) -> list[str]:
    """Say of what the shares are, and what their intervals are or why there are none."""
    noun = "fold" if is_folded else "seed"
    n_most = len({seed for values in by_seed for seed in values})
    found = f"{counted(len(by_seed), 'config')} x {counted(n_seeds, noun)}"
    if n_seeds < n_most:
        found += f", of {n_most}, that all of them have"
    lines = [f"shares of the variance between runs: main effects in {found}"]
    if not variance.is_complete(levels):
        lines.append(
            "some combinations are missing: averaged over the orders of adding keys (Shapley)"
        )
    if n_seeds == 1:
        lines.append(f"one {noun} cannot tell chance, which is in every share; several can")
        return lines
    lines.append("without what chance adds to them")
    if is_folded:
        lines.append("no interval: folds share examples")
    elif n_seeds < variance.ENOUGH:
        lines.append(f"no interval: {n_seeds} seeds are too few, {variance.ENOUGH} would do")
    else:
        lines.append("interval: bootstrap over seeds")
    return lines
