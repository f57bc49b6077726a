"""Tests that are repeated as seeds come in: what each look at them may call a difference.

Whoever tests after 5, 10, 20 and 30 seeds, each time at 5 %, is wrong far more often than in 5 % of
all sweeps. Here the looks share the 5 %: by the look at a fraction t of all seeds, a Pocock-like
part alpha log(1 + (e - 1) t) of it is spent (Lan and DeMets 1983). That spends much early. The
other usual way, like O'Brien and Fleming, keeps nearly all for the last look: after 5 of 30 seeds
it would stop at p < 0.000002, which is never, and the point is to stop early where a difference is
large.

The boundaries are found by integrating over all paths that crossed none before (Armitage,
McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19). They are those of a normal
statistic, and serve the t test as levels of p (there, section 3.8). With as few pairs as here, the
t of two looks are less alike than normal statistics are, and 5 % would be exceeded. So a look at n
pairs counts as n - 3, as the variance of t is (n - 1) / (n - 3): that gives 4.8 % with the usual
looks (simulated by its test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

ALPHAS: Floats = np.logspace(-10, 0, 121)[:-1]
"""The error rates between which a sequential p is interpolated."""

FARTHEST = 40.0  # standard deviations, beyond which no boundary is


@dataclass(kw_only=True, slots=True, frozen=True)
class Walk:
    """The paths of a random walk that have crossed no boundary: where they are at a time."""

    time: float  # the variance of the walk so far
    nodes: Floats
    masses: Floats  # the probability of being near each node

    @classmethod
    def start(cls) -> Walk:
        return cls(time=0.0, nodes=np.zeros(1), masses=np.ones(1))

    def crossing(self, z: float, time: float) -> float:
        """Return the probability of being outside +-z standard deviations at this time."""
        edge, step = z * math.sqrt(time), math.sqrt(time - self.time)
        above = special.ndtr((self.nodes - edge) / step)
        below = special.ndtr((-self.nodes - edge) / step)
        return float(self.masses @ (above + below))

    def boundary(self, part: float, time: float) -> float:
        """Return the z that is crossed with the probability `part` at this time."""
        from scipy import optimize  # takes half a second, and is not needed by other comparisons

        def excess(z: float) -> float:
            return self.crossing(z, time) - part

        return float(optimize.brentq(excess, 0.0, FARTHEST))

    def inside(self, z: float, time: float, finest: float) -> Walk:
        """Keep the paths that are inside at this time; `finest` is the least step to resolve."""
        edge, step = z * math.sqrt(time), math.sqrt(time - self.time)
        count = 32 + math.ceil(4 * edge / math.sqrt(finest))
        nodes, weights = special.roots_legendre(count)
        nodes = nodes * edge
        density = np.exp(-0.5 * ((nodes[:, None] - self.nodes) / step) ** 2) @ self.masses
        masses = weights * edge * density / (step * math.sqrt(2 * math.pi))
        return Walk(time=time, nodes=nodes, masses=masses)

    def past(self, part: float, time: float, finest: float) -> tuple[float, Walk]:
        """Take a look that spends `part` of the error; return its z, and the paths inside."""
        z = self.boundary(part, time)
        return z, self.inside(z, time, finest)


def boundaries(spent: Sequence[float], times: Sequence[float]) -> list[float]:
    """Return z of each look, by which so much of the error is spent in all, both sides together.

    `times` are what the looks know: numbers of pairs, or fractions.
    """
    walk, finest, before = Walk.start(), _finest(times), 0.0
    found = []
    for total, time in zip(spent, times, strict=True):
        z, walk = walk.past(total - before, time, finest)
        found.append(z)
        before = total
    return found


def _finest(times: Sequence[float]) -> float:
    return float(min(np.diff(times, prepend=0.0)))


def spending(alpha: float, fraction: float) -> float:
    """Return how much of `alpha` is spent at this fraction of all seeds."""
    return alpha * math.log1p((math.e - 1) * fraction)


def predictive_power(p: Floats | float, fraction: float, level: Floats | float) -> Floats:
    """Return the probability that the last look will call a difference, by what is known now.

    `p` are those of t tests at this fraction of all pairs, two-sided, and `level` is the p below
    which the last look calls a difference. Nothing but these pairs is known of the difference (a
    flat prior), and a difference in the other direction is left out (Spiegelhalter, Freedman and
    Blackburn 1986; Jennison and Turnbull 2000, section 10.3).
    """
    now, needed = -special.ndtri(np.asarray(p) / 2), -special.ndtri(np.asarray(level) / 2)
    spread = math.sqrt((1 - fraction) / fraction)  # of the last z, around the one that is expected
    return np.asarray(special.ndtr((now / math.sqrt(fraction) - needed) / spread))


@dataclass(kw_only=True, frozen=True)
class Looked:
    """The looks at a contrast so far."""

    fractions: tuple[float, ...]  # of all seeds that there may be
    pairs: tuple[int, ...]  # that each look knew: at least 5, and more each time

    def level(self, alpha: float) -> float:
        """Return the p, two-sided, below which the last look calls a difference at this error rate.

        An interval at this level is the repeated confidence interval of Jennison and Turnbull
        (1989): it holds at whatever look one stops.
        """
        return _level(alpha, self)

    def sequential_p(self, p: Floats | float) -> Floats:
        """Return the least error rates at which the last look calls a difference.

        `p` are those of t tests at the last look. The results are valid at whatever look one stops
        (Liu and Anderson 2008), and several such can be corrected for their number as other p are
        (Maurer and Bretz 2013).
        """
        logs = np.log(np.maximum(p, np.finfo(float).tiny))
        found = np.interp(logs, _log_levels(self), np.log(ALPHAS), right=0.0)
        return np.asarray(np.exp(found))


@cache
def _level(alpha: float, looked: Looked) -> float:
    times = tuple(count - 3 for count in looked.pairs)
    z, _ = _last_look(alpha, looked.fractions, times, _finest(times))
    return 2 * float(special.ndtr(-z))


@cache
def _last_look(
    alpha: float, fractions: tuple[float, ...], times: tuple[int, ...], finest: float
) -> tuple[float, Walk]:
    """Return z of the last look, and the paths inside; the looks before it are kept for others."""
    *before, fraction = fractions
    walk, part = Walk.start(), spending(alpha, fraction)
    if before:
        _, walk = _last_look(alpha, fractions[:-1], times[:-1], finest)
        part -= spending(alpha, before[-1])
    return walk.past(part, times[-1], finest)


@cache
def _log_levels(looked: Looked) -> Floats:
    return np.log([_level(alpha, looked) for alpha in ALPHAS.tolist()])
