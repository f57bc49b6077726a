"""Means with their uncertainty, and differences paired by seed: what a handful of runs can tell.

Folds of a cross-validation are not independent: their training sets overlap, and the usual variance
of a mean, s^2 / n, is too small. Where they are meant, `overlap` is n_test / n_train, and the
variance is s^2 (1/n + n_test/n_train): the corrected resampled t test of Nadeau and Bengio (2003,
Inference for the generalization error, Machine Learning 52), for k folds of several splits that of
Bouckaert and Frank (2004). Elsewhere it is 0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

LEVEL = 0.95  # the confidence level of an interval, unless `alpha` says otherwise
ALPHA = 1 - LEVEL  # what has a corrected p below it is called a difference


@dataclass(kw_only=True, slots=True, frozen=True)
class Mean:
    """A mean of `n` values; of one value alone nothing is known about its spread."""

    mean: float
    half: float | None  # half the width of the confidence interval, by Student's t
    n: int
    least: float = -math.inf  # what the values can be: the interval ends there
    most: float = math.inf

    @property
    def low(self) -> float | None:
        return None if self.half is None else max(self.mean - self.half, self.least)

    @property
    def high(self) -> float | None:
        return None if self.half is None else min(self.mean + self.half, self.most)

    @property
    def is_cut(self) -> bool:
        """Whether the interval by Student's t goes beyond what the values can be."""
        if self.half is None:
            return False
        return self.mean - self.half < self.least or self.mean + self.half > self.most


def mean(
    values: Iterable[float],
    bounds: tuple[float, float] = (-math.inf, math.inf),
    overlap: float = 0.0,
    alpha: float = ALPHA,
) -> Mean | None:
    """Return mean and confidence interval by Student's t: s / sqrt(n) times its quantile at n - 1.

    `overlap` is that of folds. `bounds` are the least and the greatest value that there can be,
    beyond which the interval does not go. It misses the true mean with the probability `alpha`.
    """
    found = list(values)
    least, most = bounds
    n = len(found)
    if n == 0:
        return None
    if n == 1:
        return Mean(mean=found[0], half=None, n=1)
    center, deviation = _moments(found)
    half = half_width(deviation, n, alpha, overlap)
    return Mean(mean=center, half=half, n=n, least=least, most=most)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1); of equal values exactly the value, and 0."""
    if min(values) == max(values):
        return values[0], 0.0
    center = math.fsum(values) / len(values)
    return center, math.sqrt(math.fsum((v - center) ** 2 for v in values) / (len(values) - 1))


def averaged(values: Iterable[tuple[Hashable, float]]) -> dict[Hashable, float]:
    """Average the values of each key."""
    by_key: dict[Hashable, list[float]] = defaultdict(list)
    for key, value in values:
        by_key[key].append(value)
    return {key: _moments(several)[0] for key, several in by_key.items()}


def half_width(deviation: float, n: int, alpha: float, overlap: float = 0.0) -> float:
    """Return half the width of the interval of a mean, which misses with the probability `alpha`."""
    return _quantile(n - 1, 1 - alpha / 2) * deviation * math.sqrt(1 / n + overlap)


@cache
def _quantile(freedom: int, share: float) -> float:
    from scipy import special  # a third of scipy.stats' import; its t distribution is made of these

    return float(special.stdtrit(freedom, share))


def most_wrong(population: int, drawn: int, wrong: int) -> int:
    """Return how many of a population can be wrong, if so many of those drawn from it are.

    That is the upper limit, one-sided at 95 %, of Clopper and Pearson (1934) for a finite population:
    the largest number of which the hypergeometric distribution gives `wrong` or fewer of those drawn
    a probability above 5 % (Wang 2015, JASA 110). It is exact: it never holds less often.
    """

    def is_likely(number: int) -> bool:
        ways = 0
        for among_drawn in range(wrong + 1):
            others = math.comb(population - number, drawn - among_drawn)
            ways += math.comb(number, among_drawn) * others
        return 20 * ways > math.comb(population, drawn)

    least, most = wrong, population - drawn + wrong
    while least < most:
        middle = (least + most + 1) // 2
        if is_likely(middle):
            least = middle
        else:
            most = middle - 1
    return least


def itself(key: Hashable) -> Hashable:
    """Return a key unchanged: each replica counts."""
    return key


@dataclass(kw_only=True, slots=True, frozen=True)
class Paired:
    """Values less those of the baseline under the same seed."""

    difference: Mean | None
    deviation: float | None = None  # standard deviation of the differences; None where p is
    d_z: float | None = None  # mean difference / its standard deviation (Lakens 2013, equation 6)
    p: float | None = None  # of the paired t test, two-sided; None where it says nothing
    holm: float | None = None  # p, corrected for all comparisons of its family
    n_all: int = 0  # seeds of either side

    def negated(self) -> Paired:
        """Return the same, of the baseline less the values."""
        difference, d_z = self.difference, self.d_z
        if difference is not None:
            difference = replace(
                difference,
                mean=-difference.mean,
                least=-difference.most,
                most=-difference.least,
            )
        return replace(self, difference=difference, d_z=None if d_z is None else -d_z)


def paired(
    values: Mapping[Hashable, float],
    baseline: Mapping[Hashable, float],
    bounds: tuple[float, float] = (-math.inf, math.inf),
    *,
    unit: Callable[[Hashable], Hashable] = itself,
    overlap: float = 0.0,
) -> Paired:
    """Run a paired t test over the seeds that both have; each maps seed -> value, within `bounds`.

    Differences of equal `unit` count once, with their mean: those of a fold, of which each seed has
    one. `overlap` is that of folds.
    """
    widest = bounds[1] - bounds[0]
    seeds = [seed for seed in values if seed in baseline]
    by_unit = averaged((unit(seed), values[seed] - baseline[seed]) for seed in seeds)
    differences = list(by_unit.values())
    found = mean(differences, (-widest, widest), overlap)
    n, n_all = len(differences), len({unit(seed) for seed in values.keys() | baseline.keys()})
    if n < 2:
        return Paired(difference=found, n_all=n_all)
    center, deviation = _moments(differences)
    scale = max(abs(v) for seed in seeds for v in (values[seed], baseline[seed]))
    if deviation <= 1e-12 * scale:  # rounding alone: no variance to judge the difference by
        return Paired(difference=Mean(mean=center, half=0.0, n=n), n_all=n_all)
    d_z = center / deviation
    p = p_value(d_z, n, overlap)
    return Paired(difference=found, deviation=deviation, d_z=d_z, p=p, n_all=n_all)


def p_value(d_z: float, n: int, overlap: float = 0.0) -> float:
    """Return p of the paired t test, two-sided, for n differences that are d_z deviations from 0."""
    from scipy import special

    t = d_z / math.sqrt(1 / n + overlap)
    return 2 * float(special.stdtr(n - 1, -abs(t)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number, step-down (Holm 1979), however the tests depend on each other.

    None, a test that could not be made, stays None and does not count.
    """
    order = sorted((p, index) for index, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[index] = largest
    return corrected


def divisors(corrected: Sequence[float | None]) -> list[int]:
    """Return by what Holm divides the level of each test, by their corrected p.

    That of a test that shows a difference is the number of those that it is not preceded by, that
    of the others how many there are. An interval at that level leaves out 0 where the test does.
    """
    order = sorted((p, index) for index, p in enumerate(corrected) if p is not None)
    shown = sum(p < ALPHA for p, _ in order)
    result = [1] * len(corrected)
    for rank, (_, index) in enumerate(order):
        result[index] = len(order) - min(rank, shown)
    return result


BETTER, WORSE = "better", "worse"


def verdict(found: Paired, *, more_is_better: bool, within: str = "") -> str:
    """Say what a comparison tells; `within` says how far equal values are known to be so."""
    if found.difference is None:
        return "no seed in common: nothing can be told"
    center, half, n = found.difference.mean, found.difference.half, found.difference.n
    if half is None:
        return "one pair only: a spread takes two"
    if found.holm is None:
        if center == 0:
            return f"the same {within}in all {n} pairs"
        return f"differs alike in all {n} pairs: no spread to test by"
    better = (center > 0) is more_is_better
    if found.holm < ALPHA:
        return BETTER if better else WORSE
    return f"{n} pairs cannot tell"
