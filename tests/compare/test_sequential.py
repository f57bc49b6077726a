"""Boundaries of repeated tests: published constants, and the error rates that they promise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import optimize, special

from sweeplab.compare import sequential
from sweeplab.compare.looks import planned
from sweeplab.compare.sequential import Looked
from sweeplab.config import Seeds

LOOKS = tuple(planned(Seeds()))


def looked(count: int) -> Looked:
    """The first so many of the usual looks, at runs none of which failed."""
    fractions = tuple(n / LOOKS[-1] for n in LOOKS[:count])
    return Looked(fractions=fractions, pairs=LOOKS[:count])


def crossing_probabilities(boundaries: Sequence[float], times: Sequence[float]) -> list[float]:
    """The probability of crossing +-z at each look first, if there is no difference."""
    walk, finest = sequential.Walk.start(), float(min(np.diff(times, prepend=0.0)))
    probabilities = []
    for z, time in zip(boundaries, times, strict=True):
        probabilities.append(walk.crossing(z, time))
        walk = walk.inside(z, time, finest)
    return probabilities


def equal_times(looks: int) -> list[float]:
    return [(number + 1) / looks for number in range(looks)]


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [(2, 2.178, 1.977), (4, 2.361, 2.024), (5, 2.413, 2.040)],
)
def test_the_classical_constants(looks: int, pocock: float, obrien_fleming: float) -> None:
    """Jennison and Turnbull (2000), tables 2.1 and 2.3: 5 %, two-sided, equal steps."""
    times = equal_times(looks)

    def error(constant: float, power: float) -> float:
        z = [constant * time**power for time in times]
        return sum(crossing_probabilities(z, times)) - 0.05

    assert optimize.brentq(error, 1.5, 4, args=(0.0,)) == pytest.approx(pocock, abs=5e-4)
    assert optimize.brentq(error, 1.5, 4, args=(-0.5,)) == pytest.approx(obrien_fleming, abs=5e-4)


def test_boundaries_by_spending_like_obrien_and_fleming() -> None:
    """Reboussin, DeMets, Kim and Lan (2000): five looks, 2.5 % on each side."""
    times = equal_times(5)
    spent = [4 - 4 * special.ndtr(-special.ndtri(0.0125) / math.sqrt(time)) for time in times]
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert sequential.boundaries(spent, times) == pytest.approx(published, abs=2e-4)


def test_boundaries_by_spending_like_pocock() -> None:
    """The same source."""
    times = equal_times(5)
    spent = [sequential.spending(0.05, time) for time in times]
    published = [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]
    assert sequential.boundaries(spent, times) == pytest.approx(published, abs=1e-4)


def test_the_probabilities_of_first_crossings_are_what_was_spent() -> None:
    spent = [0.01, 0.02, 0.04]
    z = sequential.boundaries(spent, [1, 4, 5])
    crossed = crossing_probabilities(z, [1, 4, 5])
    assert crossed == pytest.approx([0.01, 0.01, 0.02], abs=1e-9)


def test_the_level_of_one_look_is_the_error_rate() -> None:
    assert Looked(fractions=(1.0,), pairs=(12,)).level(0.05) == pytest.approx(0.05)


def test_a_sequential_p_is_the_error_rate_whose_level_is_met() -> None:
    for alpha in (0.05, 0.0031, 4e-5):
        for count in (1, 2, 4):
            p = looked(count).level(alpha)
            assert looked(count).sequential_p(p) == pytest.approx(alpha, rel=1e-3)
    ends = looked(4).sequential_p(np.array([0.0, 1.0]))
    assert ends.tolist() == pytest.approx([1e-10, 1.0])


def test_the_chance_of_an_answer_at_the_last_look() -> None:
    """By hand: z = 0 and 1.96 now, 1.96 needed; the last z strays by sqrt(2) and sqrt(3)."""
    assert float(sequential.predictive_power(1.0, 1 / 3, 0.05)) == pytest.approx(
        special.ndtr(-1.95996 / math.sqrt(2)), abs=1e-5
    )
    assert float(sequential.predictive_power(0.05, 0.25, 0.05)) == pytest.approx(
        special.ndtr((2 * 1.95996 - 1.95996) / math.sqrt(3)), abs=1e-5
    )


def test_t_tests_at_the_levels_of_the_usual_looks_are_wrong_in_five_percent() -> None:
    """By simulation, 200,000 contrasts: 3 standard errors are 0.0015."""
    values = np.random.default_rng(0).standard_normal((200_000, LOOKS[-1]), dtype=np.float32)
    wrong = np.zeros(len(values), bool)
    for number, n in enumerate(LOOKS, 1):
        part = values[:, :n]
        t = np.abs(part.mean(1)) / part.std(1, ddof=1) * math.sqrt(n)
        level = looked(number).level(0.05)
        wrong |= t > -special.stdtrit(n - 1, level / 2)
    assert wrong.mean() == pytest.approx(0.0482, abs=0.0015)
