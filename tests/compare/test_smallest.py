"""The smallest config that is shown to be as good as the best, but for a margin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from compared import add, manifest, summarise
from conftest import Command
from scipy import stats

from benchmarks import statistics as simulated
from sweeplab import compare
from sweeplab.compare import export
from sweeplab.compare.report import render
from sweeplab.compare.smallest import Smallest
from sweeplab.store import Store

BEST = [0.95, 0.96, 0.94, 0.95, 0.95]
NEAR = [0.949, 0.958, 0.94, 0.949, 0.947]  # 0.001, 0.002, 0, 0.001, 0.003 below
FAR = [0.90, 0.91, 0.90, 0.89, 0.91]


def sized(home: Store, *configs: tuple[int, Sequence[float]], **more: object) -> str:
    """Record a sweep of widths, each with so many parameters and these values, seed by seed."""
    cells = []
    for width, values in configs:
        for seed, value in enumerate(values):
            size = {"parameters": 100.0 * width}
            words = (f"model.hidden={width}", f"seed={seed}")
            cells.append(add(home, *words, valid=[value], more=size, test=value - 0.01, **more))
    return manifest(home, cells)


def found(home: Store, margin: float) -> Smallest:
    smallest = compare.compare(home, home.manifests(), margin=margin).smallest
    assert smallest is not None
    return smallest


def p_value(differences: Sequence[float], margin: float) -> float:
    """One-sided, of the hypothesis that the mean of best - candidate is the margin or more."""
    return float(stats.ttest_1samp(differences, margin, alternative="less").pvalue)


def below(values: Sequence[float]) -> list[float]:
    return [best - value for best, value in zip(BEST, values, strict=True)]


def test_the_smallest_that_is_as_good_is_named(home: Store) -> None:
    sized(home, (512, BEST), (128, NEAR), (8, FAR))
    smallest = found(home, 0.01)
    assert [one.group.name for one in smallest.candidates] == ["hidden=8", "hidden=128"]
    expected = p_value(below(NEAR), 0.01)
    assert smallest.candidates[1].paired.p == pytest.approx(expected, rel=1e-6)
    assert smallest.candidates[1].paired.holm == pytest.approx(2 * expected, rel=1e-6)
    assert smallest.candidates[0].paired.p == pytest.approx(p_value(below(FAR), 0.01), rel=1e-6)
    assert smallest.sentence == (
        "the smallest that is as good: hidden=128 with 12,800 parameters is shown to be no worse than "
        "the best, hidden=512 with 51,200 parameters, by more than 0.01 of valid/accuracy (one-sided "
        "p = 7.2e-05 (Holm), 5 pairs); test/accuracy differs by -0.0014 (-0.0028 to +0.0000)"
    )


def test_where_a_sweep_looked_the_smallest_is_tested_by_its_looks(home: Store) -> None:
    """At the first of three looks, log(1 + (e - 1) / 4) = 0.3573 of the error is spent."""
    sweep = home.manifest(sized(home, (512, BEST), (128, NEAR), (8, FAR)))
    sweep["looks"] = {"first": 0, "after": (5, 10, 20), "taken": 1}
    smallest = compare.compare(home, [sweep], margin=0.01).smallest
    assert smallest is not None
    expected = p_value(below(NEAR), 0.01) / 0.35735
    assert smallest.candidates[1].paired.holm == pytest.approx(2 * expected, rel=1e-3)
    low, high = stats.t.interval(1 - 0.05 * 0.35735, 4, -0.0014, stats.sem(below(NEAR)))
    assert smallest.sentence.endswith(
        "(one-sided p = 0.0002 (Holm, looks), 5 pairs); test/accuracy differs by -0.0014 "
        f"({low:+.4f} to {high:+.4f})"
    )
    sweep["looks"]["taken"] = 0
    smallest = compare.compare(home, [sweep], margin=0.01).smallest
    assert smallest is not None
    assert (smallest.shown, smallest.candidates[1].paired.p) == (None, None)


def test_the_simulation_names_what_a_comparison_does() -> None:
    values = np.array([[BEST, NEAR, FAR], [FAR, BEST, NEAR], [BEST, FAR, FAR]])
    assert [found.tolist() for found in simulated.as_good(values, 0.01)] == [[0, 1, 0], [1, 2, -1]]


def test_where_none_is_shown_it_is_said_what_that_would_take(home: Store) -> None:
    sized(home, (512, BEST), (128, NEAR), (8, FAR))
    smallest = found(home, 0.002)
    assert smallest.shown is None
    need = smallest.candidates[1].need
    assert need is not None
    assert need.pairs is not None
    effect = 0.0006 / stats.tstd(below(NEAR))

    def power(n: int) -> float:
        return float(stats.nct.sf(stats.t.isf(0.05 / 2, n - 1), n - 1, effect * n**0.5))

    assert power(need.pairs - 1) < 0.8 <= power(need.pairs)
    assert smallest.sentence == (
        "no smaller config is shown to be no worse than the best, hidden=512 with 51,200 parameters, "
        f"by more than 0.002 of valid/accuracy; hidden=128 with 12,800 would take {need.text} pairs (80 % power)"
    )


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ([(8, BEST), (512, FAR)], "no config has fewer parameters than the best, hidden=8 with 800 parameters"),
        ([(512, BEST), (8, FAR)], "; as measured, none came as near as that"),
        ([(512, BEST), (8, [])], "no config has fewer parameters than the best, hidden=512 with 51,200 parameters"),
        ([(512, [0.9]), (8, [0.8])], "; none has two pairs with a spread to test by"),
        ([(512, [0.9, 0.9]), (8, [0.9, 0.89])], "; hidden=8 with 800 would take > 1,000 pairs (80 % power)"),
        ([(512, [0.5, 0.5]), (8, [0.49, 0.49])], "; none has two pairs with a spread to test by"),
    ],
)  # fmt: skip
def test_other_endings(home: Store, configs: list[tuple[int, Sequence[float]]], said: str) -> None:
    sized(home, *configs)
    assert found(home, 0.00501).sentence.endswith(said)


def test_too_few_pairs_for_a_look_are_not_said_to_be_fewer_than_two(home: Store) -> None:
    sized(home, (512, [0.9]), (8, [0.8]))
    smallest = replace(found(home, 0.01), has_looks=True)
    assert smallest.sentence.endswith(
        "; none has the pairs that a look takes, or a spread to test by"
    )


def test_a_metric_that_is_better_the_smaller_it_is(home: Store) -> None:
    losses = {
        512: [0.30, 0.31, 0.32, 0.30],
        64: [0.301, 0.312, 0.32, 0.302],
        8: [0.2, 0.5, 0.4, 0.6],
    }
    cells = []
    for width, values in losses.items():
        for seed, value in enumerate(values):
            words = (f"model.hidden={width}", f"seed={seed}")
            more = {"parameters": 100.0 * width}
            cells.append(add(home, *words, valid=[value], more=more, task="regression"))
    manifest(home, cells)
    smallest = found(home, 0.02)
    assert smallest.shown is not None
    assert smallest.shown.group.name == "hidden=64"
    differences = [-0.001, -0.002, 0.0, -0.002]  # best - candidate, of losses
    expected = stats.ttest_1samp(differences, -0.02, alternative="greater").pvalue
    assert smallest.shown.paired.p == pytest.approx(float(expected), rel=1e-6)


def test_folds_are_corrected_for_their_overlap_and_need_no_number(home: Store) -> None:
    data = {"name": "mnist", "digest": "d" * 64, "train": 80, "test": 20}
    cells = []
    for width, values in ((64, BEST), (8, NEAR)):
        for fold, value in enumerate(values):
            words = (f"model.hidden={width}", "data.folds=5", f"data.fold={fold}")
            more = {"parameters": 100.0 * width}
            cells.append(add(home, *words, valid=[value], more=more, data=data))
    manifest(home, cells, replicate=["seed", "data.fold"])
    (candidate,) = found(home, 0.002).candidates
    assert candidate.paired.d_z is not None
    t = 0.0006 / stats.tstd(below(NEAR)) / (1 / 5 + 20 / 80) ** 0.5
    assert candidate.paired.p == pytest.approx(float(stats.t.sf(t, 4)), rel=1e-6)
    assert candidate.need is None
    assert found(home, 0.002).sentence.endswith("by more than 0.002 of valid/accuracy")


def test_a_sweep_has_a_margin_of_its_own_and_all_forms_tell_of_it(
    home: Store, sweeplab: Command
) -> None:
    sweep = sized(home, (512, BEST), (128, NEAR))
    assert summarise(home, sweep).smallest is None
    home.write_manifest(home.manifest(sweep) | {"margin": 0.01})
    result = summarise(home, sweep)
    assert result.smallest is not None
    sentence = result.smallest.sentence
    assert sentence.startswith("the smallest that is as good: hidden=128 ")
    assert f"\n\n{export._escaped(sentence)}.\n\n" in export.markdown(result)
    assert f"<p>T{sentence[1:]}.</p>" in render(result, [])
    ended = sweeplab("compare", "tracking=off")
    assert f"\n{sentence}\n" in ended.out
    told = json.loads(sweeplab("compare", "--json", "--margin", "0.002", "tracking=off").out)
    assert {key: told["smallest"][key] for key in ("margin", "best", "shown")} == {
        "margin": 0.002, "best": "hidden=512", "shown": None,
    }  # fmt: skip
    assert told["smallest"]["candidates"][0]["need"]["pairs"] > 5


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ("0", "--margin=0: must be a finite number > 0"),
        ("-1", "--margin=-1: must be a finite number > 0"),
        ("nan", "--margin=nan: must be a finite number > 0"),
        ("2", "--margin=2: valid/accuracy is at least 0 and at most 1; give a number below 1, as in 0.02 for 2 %"),
    ],
)  # fmt: skip
def test_a_margin_that_is_none_is_refused(
    home: Store, sweeplab: Command, margin: str, said: str
) -> None:
    sized(home, (512, [0.9]))
    ended = sweeplab("compare", f"--margin={margin}", "tracking=off")
    assert (ended.code, ended.err) == (2, f"{said}\n")
