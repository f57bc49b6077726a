"""Power of paired t tests: against published tables, scipy, and simulated sweeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import simulated
from benchmarks.statistics import known
from sweeplab.compare import power, statistics


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_number_of_pairs_is_that_of_the_tables(effect: float, pairs: int) -> None:
    """Cohen (1988): two-sided, 5 %, power 80 %."""
    assert power.pairs_for(effect, 0.025) == pairs


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("tail", [0.025, 0.025 / 13])
def test_power_agrees_with_scipy(n: int, tail: float) -> None:
    threshold = stats.t.isf(tail, n - 1)
    for effect in (0.0, 0.4, 1.5):
        expected = stats.nct.sf(threshold, n - 1, effect * math.sqrt(n))
        assert power.power(effect, n, tail) == pytest.approx(expected, abs=1e-9)
    told = power.detectable(0.01, n, tail)
    assert power.power(told / 0.01, n, tail) == pytest.approx(0.8, abs=1e-4)


def test_an_effect_of_any_size_has_a_number() -> None:
    assert [power.pairs_for(effect, 0.025) for effect in (0.0, 0.08, 60.0, 1e9)] == [
        None,
        None,  # 1,229
        2,
        2,
    ]


def test_the_upper_limit_of_a_standard_deviation_agrees_with_scipy() -> None:
    assert power.upper_limit(4) == pytest.approx(math.sqrt(4 / stats.chi2.ppf(0.2, 4)), rel=1e-12)
    assert round(power.upper_limit(4), 4) == 1.5576


def test_a_need_is_from_the_spread_as_it_is_to_its_upper_limit() -> None:
    need = power.Need.of(1.09, 0.1669, 3, 0.025)
    assert (need.pairs, need.at_most, need.text) == (9, 32, "9 to 32")
    assert need.detectable == pytest.approx(0.1669 * 3.2640, abs=1e-4)
    texts = [power.Need.of(effect, 1.0, 5, 0.025).text for effect in (0.0, 0.1, 9.0)]
    assert texts == ["> 1,000", "787 to > 1,000", "3"]


def test_the_simulation_corrects_as_a_comparison_does() -> None:
    p = np.random.default_rng(0).uniform(0, 0.1, (50, 4))
    expected = [[bool(q and q < 0.05) for q in statistics.holm(row.tolist())] for row in p]
    assert simulated.rejected_by_holm(p).tolist() == expected
    differences = np.random.default_rng(1).normal(0.5, 1.0, (3, 6))
    by_hand = [stats.ttest_1samp(row, 0.0).pvalue for row in differences]
    assert simulated.p_values(differences).tolist() == pytest.approx(by_hand)


def test_the_promised_number_has_the_power_that_is_promised() -> None:
    rows = known(np.random.default_rng(0), 1000).rows
    assert [row[2] for row in rows[:4]] == ["90", "34", "15", "8"]
    for row in rows:
        assert float(row[3].split()[0]) == pytest.approx(float(row[4].split()[0]), abs=4)
