"""Means, paired differences and corrections: against hand-made and scipy's numbers, and over simulated sweeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeplab.compare.statistics import Mean, Paired, holm, mean, most_wrong, paired, verdict

FIRST = [0.9812, 0.9834, 0.9801, 0.9827, 0.9819, 0.9840]
SECOND = [0.9805, 0.9821, 0.9809, 0.9811, 0.9802, 0.9818]


def near(value: float | None, expected: float) -> None:
    assert value is not None
    assert math.isclose(value, expected, rel_tol=1e-12, abs_tol=1e-12)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_mean_has_the_interval_of_student() -> None:
    found = mean([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.n) == (2.0, 3)
    near(
        found.half, 4.302652729749462 / math.sqrt(3)
    )  # the tables' 4.303, at two degrees of freedom
    near(found.low, 2.0 - 4.302652729749462 / math.sqrt(3))


def test_means_agree_with_scipy() -> None:
    found = mean(FIRST)
    low, high = stats.t.interval(0.95, len(FIRST) - 1, np.mean(FIRST), stats.sem(FIRST))
    assert found is not None
    near(found.mean, float(np.mean(FIRST)))
    near(found.low, float(low))
    near(found.high, float(high))


def test_of_one_value_nothing_is_known_but_itself() -> None:
    assert mean([0.5]) == Mean(mean=0.5, half=None, n=1)
    assert (Mean(mean=0.5, half=None, n=1).low, Mean(mean=0.5, half=None, n=1).high) == (None, None)
    assert mean([]) is None


def test_paired_differences_agree_with_scipy() -> None:
    found, expected = paired(by_seed(FIRST), by_seed(SECOND)), stats.ttest_rel(FIRST, SECOND)
    interval, differences = expected.confidence_interval(0.95), np.subtract(FIRST, SECOND)
    assert found.difference is not None
    near(found.p, float(expected.pvalue))
    near(found.difference.low, float(interval.low))
    near(found.difference.high, float(interval.high))
    near(found.d_z, float(np.mean(differences) / np.std(differences, ddof=1)))


def test_paired_differences_by_hand() -> None:
    found = paired(
        {0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0}
    )  # 1, 2, 3: mean 2, standard deviation 1
    assert found.difference is not None
    assert (found.difference.mean, found.d_z) == (2.0, 2.0)
    t = 2 * math.sqrt(3)
    near(
        found.p, 1 - t / math.sqrt(t * t + 2)
    )  # Student's distribution has a closed form at two degrees of freedom


def test_folds_have_the_corrected_variance_by_hand() -> None:
    overlap = 1 / 4  # n_test / n_train of five folds, of which there are three
    found = mean([1.0, 2.0, 3.0], overlap=overlap)  # standard deviation 1
    assert found is not None
    near(found.half, 4.302652729749462 * math.sqrt(7 / 12))  # 1/3 + 1/4
    told = paired({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0}, overlap=overlap)
    t = 2 / math.sqrt(7 / 12)
    near(told.p, 1 - t / math.sqrt(t * t + 2))
    assert told.d_z == 2.0


def test_the_seeds_of_a_fold_count_once() -> None:
    pairs = {("a", 0): 3.0, ("a", 1): 1.0, ("b", 0): 4.0, ("c", 0): 6.0, ("c", 1): 9.0}
    others = dict.fromkeys(pairs, 1.0) | {("d", 0): 1.0}  # differences 2, 0; 3; 5, 8
    found = paired(pairs, others, unit=lambda key: key[0] if isinstance(key, tuple) else key)
    assert found.difference is not None
    assert (found.difference.n, found.n_all) == (3, 4)
    near(found.difference.mean, (1.0 + 3.0 + 6.5) / 3)


def test_only_common_seeds_are_paired() -> None:
    found = paired({0: 1.0, 1: 2.0, 7: 9.0}, {1: 1.0, 0: 0.5, 8: 3.0})
    assert found.difference is not None
    assert (found.difference.mean, found.difference.n, found.n_all) == (0.75, 2, 4)


def test_holm_by_hand() -> None:
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 but no less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert holm([0.02, None, 0.5]) == [0.04, None, 0.5]
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("values", "baseline", "said"),
    [
        ({}, {0: 1.0}, "no seed in common: nothing can be told"),
        ({0: 1.0}, {0: 0.5}, "one pair only: a spread takes two"),
        ({0: 0.5, 1: 0.25}, {0: 0.5, 1: 0.25}, "the same in all 2 pairs"),
        (
            {0: 0.3, 1: 0.4},
            {0: 0.2, 1: 0.3},
            "differs alike in all 2 pairs: no spread to test by",
        ),  # but for rounding
        ({0: 0.5, 1: 0.6, 2: 0.4}, {0: 0.4, 1: 0.7, 2: 0.5}, "3 pairs cannot tell"),
        ({0: 2.0, 1: 3.1, 2: 3.9}, {0: 1.0, 1: 2.0, 2: 3.0}, "better"),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 3.1, 2: 3.9}, "worse"),
    ],
)
def test_what_is_said(values: dict[int, float], baseline: dict[int, float], said: str) -> None:
    found = paired(values, baseline)
    corrected = Paired(
        difference=found.difference, d_z=found.d_z, p=found.p, holm=found.p, n_all=found.n_all
    )
    assert verdict(corrected, more_is_better=True) == said
    turned = {"better": "worse", "worse": "better"}.get(said, said)
    assert verdict(corrected, more_is_better=False) == turned


def test_what_cannot_be_tested_is_not_significant() -> None:
    found = paired({0: 0.3, 1: 0.4}, {0: 0.2, 1: 0.3})
    assert (found.p, found.d_z) == (None, None)


def called_significant(effect: float) -> int:
    """Of 200 simulated sweeps of two configs under ten seeds; `effect` in standard deviations of a run."""
    random = np.random.default_rng(20261122)
    sweeps = random.normal(0.98, 0.001, (200, 2, 10))
    sweeps[:, 1] += effect * 0.001
    tests = [paired(by_seed(list(new)), by_seed(list(old))) for old, new in sweeps]
    return sum(p < 0.05 for test in tests for p in holm([test.p]) if p is not None)


def test_chance_is_called_a_difference_about_one_time_in_twenty() -> None:
    assert 4 <= called_significant(0.0) <= 16


def test_an_effect_of_two_standard_deviations_is_found() -> None:
    assert called_significant(2.0) >= 190


def test_an_interval_ends_where_the_values_do() -> None:
    found = mean([0.2, 0.9, 0.95], bounds=(0.0, 1.0))
    assert found is not None
    assert found.half == pytest.approx(4.302652729749462 * 0.41932485418030414 / math.sqrt(3))
    assert (found.low, found.high, found.is_cut) == (0.0, 1.0, True)
    within = mean([0.5, 0.51, 0.52], bounds=(0.0, 1.0))
    assert within is not None
    assert within.half is not None
    assert (within.low, within.is_cut) == (within.mean - within.half, False)


def test_a_difference_of_accuracies_is_at_most_one() -> None:
    found = paired({0: 0.1, 1: 0.9, 2: 1.0}, {0: 0.9, 1: 0.1, 2: 0.0}, bounds=(0.0, 1.0)).difference
    assert found is not None
    assert (found.low, found.high) == (-1.0, 1.0)


def test_the_most_that_can_be_wrong_of_a_population() -> None:

    assert most_wrong(10**6, 5, 0) == 450_718, "of infinitely many 1 - 0.05 ** (1 / 5), 0.4507"
    # Of 10, 5 are drawn: C(7, 5) / C(10, 5) is 21 / 252, C(6, 5) / C(10, 5) is 6 / 252.
    assert most_wrong(10, 5, 0) == 3
    assert most_wrong(5, 5, 0) == 0
    assert most_wrong(5, 5, 2) == 2
    assert most_wrong(3, 1, 1) == 3
    for population, drawn in ((7, 3), (40, 5), (40, 20), (300, 10)):
        for wrong in range(drawn + 1):
            most = most_wrong(population, drawn, wrong)
            chances = [
                stats.hypergeom.cdf(wrong, population, number, drawn)
                for number in range(wrong, population - drawn + wrong + 1)
            ]
            assert most == wrong + max(n for n, chance in enumerate(chances) if chance > 0.05)
