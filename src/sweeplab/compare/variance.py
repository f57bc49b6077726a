"""The variance between runs, divided among the keys that were swept: which ones matter.

A key's part is its main effect in an analysis of variance, less what chance alone adds to it. What
chance does under one seed does not depend on what it does under another, so the product of an
effect under one seed and the same effect under another is the squared effect on average, and the
mean of such products over all pairs of seeds is the key's part, without bias. (It can come out
below 0, and is given as 0.) What several keys do beyond the sum of their main effects are the
interactions; the rest is chance: what differs between the seeds of a config.

Where combinations are missing, main effects overlap. There a key's part is the mean of what it adds
over all orders in which the keys can be added (Lindeman, Merenda and Gold 1980; a Shapley value).
In a complete grid all orders give the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from sweeplab.compare.statistics import ALPHA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_KEYS = 8  # of an incomplete grid, which takes a fit for each set of keys
ENOUGH = 5  # seeds for an interval: one from fewer often misses the truth
RESAMPLES, FEWER = 10_000, 2_000  # an interval from few seeds takes the outermost resamples
MANY = 20  # seeds, for which the fewer resamples do

Levels = Mapping[str, Sequence[str]]  # by key, the text of its value in each config


@dataclass(kw_only=True, slots=True, frozen=True)
class Share:
    """A part of the variance between runs, from 0 to 1, and its 95 % interval if it has one."""

    name: str
    share: float
    low: float | None = None
    high: float | None = None


def why_indivisible(levels: Levels) -> str:
    """Say why the main effects of keys cannot be told apart; '' if they can."""
    if is_complete(levels):
        return ""
    if len(levels) > MOST_KEYS:
        return f"combinations are missing, of more than {MOST_KEYS} keys"
    effects = {key: len(set(texts)) - 1 for key, texts in levels.items()}
    rank = _rank(levels)
    if rank < 1 + sum(effects.values()):
        tied = []
        for key, number in effects.items():
            others = {other: texts for other, texts in levels.items() if other != key}
            if rank - _rank(others) < number:
                tied.append(key)
        return f"{' and '.join(tied)} vary together"
    n_configs = len(next(iter(levels.values())))
    if rank == n_configs:
        return f"{n_configs} configs are too few to tell {len(levels)} keys from their interactions"
    return ""


def is_complete(levels: Levels) -> bool:
    """Tell whether there is one config for each combination of values."""
    configs = list(zip(*levels.values(), strict=True))
    most = math.prod(len(set(texts)) for texts in levels.values())
    return len(configs) == len(set(configs)) == most


def divide(levels: Levels, values: Array, *, intervals: bool = True) -> list[Share]:
    """Divide the variance of `values` (configs x seeds): each key, the interactions, chance.

    One seed cannot tell the last two apart, and its keys have some of chance. Intervals come from
    resampled seeds, of which there have to be ENOUGH.
    """
    import numpy as np

    values = values - values.mean()
    names, parts = list(levels), _main_effects(levels, values)
    n_seeds = values.shape[1]
    if n_seeds > 1:
        names.append("interactions")
        parts.append(values.T @ values / len(values) - sum(parts) - _explained([], values))
    names.append("chance" if n_seeds > 1 else "interactions and chance")
    products = np.stack([*parts, _whole(values)])  # each seeds x seeds
    if n_seeds > 1:
        products[:, range(n_seeds), range(n_seeds)] = 0  # a seed and itself are no pair
    estimates = _shares(products.sum((1, 2))).tolist()
    if not intervals or n_seeds < ENOUGH:
        return [Share(name=name, share=share) for name, share in zip(names, estimates, strict=True)]
    rows = zip(names, estimates, *_intervals(products).tolist(), strict=True)
    return [Share(name=name, share=share, low=low, high=high) for name, share, low, high in rows]


def _main_effects(levels: Levels, values: Array) -> list[Array]:
    """Compute each key's part for each pair of seeds."""

    @cache
    def explained(keys: tuple[int, ...]) -> Array:
        return _explained([texts[key] for key in keys], values)

    texts, n_keys = list(levels.values()), len(levels)
    parts = []
    for key in range(n_keys):
        others = [other for other in range(n_keys) if other != key]
        sizes = [0] if is_complete(levels) else range(n_keys)  # complete: any order will do
        part = 0 * values.T @ values
        for size in sizes:
            sets = list(combinations(others, size))
            for before in sets:
                added = explained(tuple(sorted((*before, key)))) - explained(before)
                part += added / len(sets) / len(sizes)
        parts.append(part)
    return parts


def _explained(levels: Sequence[Sequence[str]], values: Array) -> Array:
    """Fit the main effects of keys by least squares; the mean product of the fits of two seeds."""
    import numpy as np

    design = _design(levels, len(values))
    fit = design @ np.linalg.lstsq(design, values)[0]
    return fit.T @ fit / len(values)


def _design(levels: Sequence[Sequence[str]], n_configs: int) -> Array:
    """Build the design matrix: a row for each config, a column for each value of a key."""
    import numpy as np

    blocks = [np.equal.outer(np.array(texts), np.unique(texts)) for texts in levels]
    return np.hstack([np.ones((n_configs, 1)), *blocks])


def _rank(levels: Levels) -> int:
    import numpy as np

    n_configs = len(next(iter(levels.values())))
    return int(np.linalg.matrix_rank(_design(list(levels.values()), n_configs)))


def _whole(values: Array) -> Array:
    """Compute for each pair of seeds the variance of a run: its mean over all pairs has no bias."""
    import numpy as np

    squares, means = (values**2).mean(0), values.mean(0)
    whole: Array = np.add.outer(squares, squares) / 2 - np.outer(means, means)
    return whole


def _shares(sums: Array) -> Array:
    """Divide sums of products, the last of which is the whole; the last share is what is left."""
    import numpy as np

    shares = sums[:-1] / sums[-1]
    rest = 1 - shares.sum(0, keepdims=True)
    return np.concatenate([shares, rest]).clip(0, 1)


def _intervals(products: Array) -> Array:
    """Bootstrap over seeds: resample them, all configs alike; the low ends, and the high ends.

    Percentiles of resamples are too narrow an interval for few seeds, and are taken as far out as
    Student's t is wider than the normal distribution (Hesterberg 2015, section 5.3, "expanded").
    """
    import numpy as np
    from scipy import special

    n_seeds = products.shape[1]
    n_resamples = RESAMPLES if n_seeds < MANY else FEWER
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n_seeds, [1 / n_seeds] * n_seeds, size=n_resamples).astype(float)
    sums = np.stack([((counts @ product) * counts).sum(1) for product in products])
    shares = _shares(sums[:, sums[-1] > 0])  # 0 where every draw was the same seed
    t = special.stdtrit(n_seeds - 1, ALPHA / 2)
    tail = special.ndtr(t * math.sqrt(n_seeds / (n_seeds - 1)))
    ends: Array = np.quantile(shares, [tail, 1 - tail], axis=1)
    return ends
