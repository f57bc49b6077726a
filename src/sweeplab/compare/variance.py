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
AT_ONCE = 100  # resamples, so that those of many seeds do not take much memory
NOTHING = 1e-12  # of the largest variance of resamples: what rounding leaves of none

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
        parts.append(values - sum(parts) - _fit([], values))
    names.append("chance" if n_seeds > 1 else "interactions and chance")
    products = _PairProducts(values, parts)
    estimates = _shares(products.sums(np.ones((1, n_seeds))))[:, 0].tolist()
    if not intervals or n_seeds < ENOUGH:
        return [Share(name=name, share=share) for name, share in zip(names, estimates, strict=True)]
    rows = zip(names, estimates, *_intervals(products, n_seeds).tolist(), strict=True)
    return [Share(name=name, share=share, low=low, high=high) for name, share, low, high in rows]


def _main_effects(levels: Levels, values: Array) -> list[Array]:
    """Compute what each key adds to the fit, on average over orders (configs x seeds)."""

    @cache
    def fit(keys: tuple[int, ...]) -> Array:
        return _fit([texts[key] for key in keys], values)

    texts, n_keys = list(levels.values()), len(levels)
    parts = []
    for key in range(n_keys):
        others = [other for other in range(n_keys) if other != key]
        sizes = [0] if is_complete(levels) else range(n_keys)  # complete: any order will do
        part = 0 * values
        for size in sizes:
            sets = list(combinations(others, size))
            for before in sets:
                added = fit(tuple(sorted((*before, key)))) - fit(before)
                part += added / len(sets) / len(sizes)
        parts.append(part)
    return parts


def _fit(levels: Sequence[Sequence[str]], values: Array) -> Array:
    """Fit the main effects of keys by least squares (configs x seeds)."""
    import numpy as np

    design = _design(levels, len(values))
    fit: Array = design @ np.linalg.lstsq(design, values)[0]
    return fit


class _PairProducts:
    """Sums of products over all pairs of seeds, without a matrix of seeds x seeds.

    The product of two seeds' fits is that of one's values and the other's fit, since a fit is a
    projection. A seed and itself are no pair, unless there is only one.
    """

    def __init__(self, values: Array, parts: Sequence[Array]) -> None:
        import numpy as np

        self._squares, self._means = (values**2).mean(0), values.mean(0)
        # Products stay the same in a basis of what the seeds span, which is smaller if they are few
        basis, reduced = np.linalg.qr(values)
        self._values = reduced / len(values)
        self._parts = [basis.T @ part for part in parts]
        with_itself = [(self._values * part).sum(0) for part in self._parts]
        with_itself.append(self._squares - self._means**2)
        self._with_itself = np.stack(with_itself) * (values.shape[1] > 1)

    def sums(self, counts: Array) -> Array:
        """Sum each part's products, and the variances, where each seed counts so often.

        `counts` is resamples x seeds; returned are (parts + 1) x resamples. The variance of a pair's
        runs is the last: its mean over all pairs has no bias.
        """
        import numpy as np

        drawn = self._values @ counts.T
        sums = [(drawn * (part @ counts.T)).sum(0) for part in self._parts]
        sums.append(counts.sum(1) * (counts @ self._squares) - (counts @ self._means) ** 2)
        pairs: Array = np.stack(sums) - self._with_itself @ (counts**2).T
        return pairs


def _design(levels: Sequence[Sequence[str]], n_configs: int) -> Array:
    """Build the design matrix: a row for each config, a column for each value of a key."""
    import numpy as np

    blocks = [np.equal.outer(np.array(texts), np.unique(texts)) for texts in levels]
    return np.hstack([np.ones((n_configs, 1)), *blocks])


def _rank(levels: Levels) -> int:
    import numpy as np

    n_configs = len(next(iter(levels.values())))
    return int(np.linalg.matrix_rank(_design(list(levels.values()), n_configs)))


def _shares(sums: Array) -> Array:
    """Divide sums of products, the last of which is the whole; the last share is what is left."""
    import numpy as np

    shares = sums[:-1] / sums[-1]
    rest = 1 - shares.sum(0, keepdims=True)
    return np.concatenate([shares, rest]).clip(0, 1)


def _intervals(products: _PairProducts, n_seeds: int) -> Array:
    """Bootstrap over seeds: resample them, all configs alike; the low ends, and the high ends.

    Percentiles of resamples are too narrow an interval for few seeds, and are taken as far out as
    Student's t is wider than the normal distribution (Hesterberg 2015, section 5.3, "expanded").
    """
    import numpy as np
    from scipy import special

    n_resamples = RESAMPLES if n_seeds < MANY else FEWER
    rng = np.random.default_rng(0)
    sums = []
    for _ in range(n_resamples // AT_ONCE):
        counts = rng.multinomial(n_seeds, [1 / n_seeds] * n_seeds, size=AT_ONCE)
        sums.append(products.sums(counts.astype(float)))
    drawn = np.hstack(sums)
    is_some = drawn[-1] > NOTHING * drawn[-1].max()  # none where every draw was the same seed
    shares = _shares(drawn[:, is_some])
    t = special.stdtrit(n_seeds - 1, ALPHA / 2)
    tail = special.ndtr(t * math.sqrt(n_seeds / (n_seeds - 1)))
    ends: Array = np.quantile(shares, [tail, 1 - tail], axis=1)
    return ends
