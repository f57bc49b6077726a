"""Power: how many pairs a difference needs to be told, and what difference so many pairs can tell.

The t of n pairs, whose differences have mean d and standard deviation s, has Student's noncentral
distribution with n - 1 degrees of freedom and noncentrality d / s * sqrt(n) (Cohen 1988,
Statistical power analysis, chapter 2). Only differences in the right direction are counted.

Of a few pairs s is known badly. At its upper confidence limit of 80 % the number of pairs has the
power that it promises in about 80 % of the cases (Browne 1995, Statistics in Medicine 14; Kieser
and Wassmer 1996, Biometrical Journal 38).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

POWER = 0.8
POWER_TEXT = "80 % power"
LOOKED_AT_ONCE = "that are looked at once"  # not again and again, which takes more pairs
UPPER = 0.8  # confidence of the upper limit of a standard deviation, one-sided
MOST = 1000  # pairs; of more it is only said that it takes more


def power(effect: float, n: int, tail: float) -> float:
    """Return the probability that n pairs show an effect, which is a mean / standard deviation.

    `tail` is the probability of what is called a difference where there is none, on the side of
    the effect: half the level of a two-sided test.
    """
    from scipy import special

    threshold = special.stdtrit(n - 1, 1 - tail)
    below = float(special.nctdtr(n - 1, effect * math.sqrt(n), threshold))
    return 1.0 if math.isnan(below) else 1.0 - below  # it is nan where it is next to nothing


def pairs_for(effect: float, tail: float) -> int | None:
    """Return the least number of pairs that has the power to show an effect; None: above MOST."""
    numbers = range(2, MOST + 1)
    index = bisect_left(numbers, POWER, key=lambda n: power(effect, n, tail))
    return numbers[index] if index < len(numbers) else None


def detectable(deviation: float, n: int, tail: float) -> float:
    """Return the difference that n pairs have the power to show."""
    from scipy import special

    threshold = special.stdtrit(n - 1, 1 - tail)
    return float(special.nctdtrinc(n - 1, 1 - POWER, threshold)) * deviation / math.sqrt(n)


def upper_limit(freedom: int) -> float:
    """Return by how much a standard deviation is to be multiplied for its upper confidence limit."""
    from scipy import special

    return math.sqrt(freedom / float(special.chdtri(freedom, UPPER)))


@dataclass(kw_only=True, slots=True, frozen=True)
class Need:
    """How many pairs tell a difference as large as the one that n pairs have, and cannot tell."""

    pairs: int | None  # None: more than MOST
    at_most: int | None  # with the standard deviation at its upper limit
    detectable: float  # the difference that n pairs can tell

    @classmethod
    def of(cls, effect: float, deviation: float, n: int, tail: float) -> Need:
        """Find the need of n pairs whose differences have this effect and standard deviation."""
        return cls(
            pairs=pairs_for(effect, tail),
            at_most=pairs_for(effect / upper_limit(n - 1), tail),
            detectable=detectable(deviation, n, tail),
        )

    @property
    def text(self) -> str:
        """Write `9 to 31`, or `> 1,000`."""
        if self.pairs is None:
            return f"> {MOST:,}"
        if self.at_most is None:
            return f"{self.pairs:,} to > {MOST:,}"
        if self.at_most == self.pairs:
            return f"{self.pairs:,}"
        return f"{self.pairs:,} to {self.at_most:,}"
