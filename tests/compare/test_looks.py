"""Comparisons of sweeps that looked: corrected numbers, who is decided, and further looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from compared import Node, add, manifest
from scipy import stats

from benchmarks.sequential import replay
from sweeplab import compare
from sweeplab.compare import tables
from sweeplab.compare.sequential import Looked
from sweeplab.store import Store

MONITOR = "valid/accuracy"
AFTER = (5, 10, 20)


def draws(mean: float, number: int) -> list[float]:
    """So many values around a mean, four digits each."""
    spread = np.random.default_rng(round(1e4 * mean)).normal(mean, 0.01, number)
    return [round(value, 4) for value in spread.tolist()]


def looked(
    home: Store,
    configs: Mapping[int, Sequence[float]],
    taken: int,
    baseline: str | None = "model.hidden=8",
    margin: float | None = None,
) -> Node:
    """Record a sweep over model.hidden that looked after 5, 10 and 20 seeds."""
    cells = [
        add(home, f"model.hidden={hidden}", f"seed={seed}", valid=[value])
        for hidden, values in configs.items()
        for seed, value in enumerate(values)
    ]
    for cell in cells:
        cell["group"] = cell["overrides"][0]
    sweep = home.manifest(manifest(home, cells, baseline=baseline))
    sweep |= {"margin": margin, "looks": {"first": 0, "after": AFTER, "taken": taken}}
    home.write_manifest(sweep)
    return sweep


BASELINE, CLEAR, CLOSE = draws(0.9, 20), draws(0.95, 5), draws(0.901, 20)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> compare.Comparison:
    """A config that stopped at the first look, one that went on to the last, and their baseline."""
    home = Store(tmp_path_factory.mktemp("looked") / "runs")
    home.open()
    sweep = looked(home, {8: BASELINE, 16: CLEAR, 32: CLOSE}, taken=3)
    return compare.compare(home, [sweep])


def test_p_and_intervals_are_corrected_for_looks_and_comparisons(three: compare.Comparison) -> None:
    clear, close = three.contrasts[MONITOR]
    first = Looked(fractions=(0.25,), pairs=(5,))
    whole = Looked(fractions=(0.25, 0.5, 1.0), pairs=AFTER)
    assert (clear.looked, close.looked) == (first, whole)
    p_clear = stats.ttest_rel(CLEAR, BASELINE[:5]).pvalue
    p_close = stats.ttest_rel(CLOSE, BASELINE).pvalue
    # of 5 of 20 seeds log(1 + (e - 1) / 4) = 0.3573 of the error is spent
    assert clear.paired.p == pytest.approx(p_clear / 0.35735, rel=1e-3)
    assert clear.paired.holm == pytest.approx(2 * p_clear / 0.35735, rel=1e-3)
    assert close.paired.p == close.paired.holm == pytest.approx(whole.sequential_p(p_close))
    for contrast, values, level in (
        (clear, CLEAR, 0.35735 * 0.05 / 2),
        (close, CLOSE, whole.level(0.05)),
    ):
        n = len(values)
        differences = np.array(values) - BASELINE[:n]
        half = stats.t.ppf(1 - level / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n)
        assert contrast.paired.difference is not None
        assert contrast.paired.difference.half == pytest.approx(half, rel=1e-4)


def test_the_table_says_at_which_look_a_config_stopped(three: compare.Comparison) -> None:
    table = tables.contrasts(three, MONITOR, 9)
    assert [row[:3] for row in table.rows] == [
        ["16", "better (look 1: 5 seeds)", "5"],
        ["32", "20 pairs cannot tell (look 3: 20 seeds)", "20"],
    ]
    assert table.intro.endswith(
        "; looked at after 5, 10 and 20 seeds of what was not decided; p by the paired t test and "
        "the intervals are corrected for these looks and for 2 comparisons (Holm), and hold at "
        "whichever one stopped"
    )


def test_intervals_of_means_are_widened_too(three: compare.Comparison) -> None:
    clear = three.groups[0].mean(MONITOR)
    assert clear is not None
    half = stats.t.ppf(1 - 0.35735 * 0.05 / 2, 4) * np.std(CLEAR, ddof=1) / math.sqrt(5)
    assert (three.groups[0].name, clear.half) == ("hidden=16", pytest.approx(half, rel=1e-4))


def test_a_look_that_is_not_taken_yet_tells_nothing(home: Store) -> None:
    sweep = looked(home, {8: BASELINE[:10], 16: draws(0.95, 10)}, taken=0)
    found = compare.compare(home, [sweep])
    (contrast,) = found.contrasts[MONITOR]
    assert (contrast.verdict, contrast.paired.difference) == ("too few pairs for a look", None)
    sweep["looks"]["taken"] = 1
    (contrast,) = compare.compare(home, [sweep]).contrasts[MONITOR]
    assert contrast.paired.difference is not None
    assert contrast.paired.difference.n == 5


def test_who_is_not_decided_goes_on_with_its_baseline(home: Store) -> None:
    sweep = looked(home, {8: BASELINE[:5], 16: CLEAR, 32: CLOSE[:5]}, taken=1)
    found = compare.compare(home, [sweep])
    assert {group.name for group in found.undecided} == {"hidden=8", "hidden=32"}
    sweep["margin"] = 0.1
    assert compare.compare(home, [sweep]).undecided == []
    said = [contrast.verdict for contrast in compare.compare(home, [sweep]).contrasts[MONITOR]]
    assert said == ["better", "the same within 0.1"]


def test_who_would_hardly_ever_be_decided_gets_no_more_seeds(home: Store) -> None:
    alike = [value + (-1) ** seed / 100 for seed, value in enumerate(BASELINE[:10])]
    sweep = looked(home, {8: BASELINE[:10], 16: alike}, taken=1)
    assert len(compare.compare(home, [sweep]).undecided) == 2, "five pairs are too few to give up"
    sweep["looks"]["taken"] = 2
    found = compare.compare(home, [sweep])
    (contrast,) = found.contrasts[MONITOR]
    assert (found.undecided, contrast.verdict) == ([], "10 pairs cannot tell, nor would 20")
    assert "'nor would 20': by these pairs" in tables.contrast_caption(found, MONITOR)
    sweep["margin"] = 0.001
    found = compare.compare(home, [sweep])
    (contrast,) = found.contrasts[MONITOR]
    assert (len(found.undecided), contrast.verdict) == (2, "10 pairs cannot tell")


@pytest.mark.parametrize(
    ("gain", "margin", "verdict", "undecided"),
    [
        (0.0, None, "the same in all 5 pairs", 0),
        (0.0, 0.01, "the same within 0.01", 0),
        (0.25, 0.5, "the same within 0.5", 0),
        (0.25, 0.1, "differs alike in all 5 pairs: no spread to test by", 2),
        (0.25, None, "differs alike in all 5 pairs: no spread to test by", 2),
    ],
)
def test_pairs_without_a_spread_are_decided_at_the_first_look(
    home: Store, gain: float, margin: float | None, verdict: str, undecided: int
) -> None:
    values = [0.25, 0.5, 0.125, 0.375, 0.25]
    alike = [value + gain for value in values]
    sweep = looked(home, {8: values, 16: alike}, taken=1, margin=margin)
    found = compare.compare(home, [sweep])
    (contrast,) = found.contrasts[MONITOR]
    assert (contrast.verdict, len(found.undecided)) == (verdict, undecided)


def test_the_pairs_needed_are_those_of_one_look(home: Store) -> None:
    found = compare.compare(home, [looked(home, {8: BASELINE, 32: CLOSE}, taken=3)])
    caption = tables.needs_caption(found.contrasts[MONITOR])
    assert caption.startswith("pairs needed, of new seeds that are looked at once: for 80 % power")
    (need,) = [note for note in found.notes if "pairs cannot tell" in note]
    assert " and 20 pairs that are looked at once can show a difference of 0.011 " in need


def test_without_a_baseline_who_is_worse_than_another_is_out(home: Store) -> None:
    values = {8: draws(0.7, 5), 16: CLEAR, 32: draws(0.951, 5)}
    found = compare.compare(home, [looked(home, values, taken=1, baseline=None)])
    assert {group.name for group in found.undecided} == {"hidden=16", "hidden=32"}
    best = found.groups[0].name
    out = found.contrasts[MONITOR][1]
    assert (out.group.name, out.verdict) == ("hidden=8", f"worse than {out.against.name}")  # type: ignore[union-attr]
    assert found.contrasts[MONITOR][0].verdict == f"5 pairs cannot tell, against {best}"
    p = stats.ttest_rel(values[8], CLEAR).pvalue, stats.ttest_rel(values[8], values[32]).pvalue
    assert out.paired.holm == pytest.approx(3 * min(p) / 0.35735, rel=1e-3)


def test_a_failed_run_is_missing_in_its_pairs(home: Store) -> None:
    values = [*CLEAR[:3], math.nan, *draws(0.951, 6)]
    found = compare.compare(home, [looked(home, {8: BASELINE[:10], 16: values}, taken=2)])
    (contrast,) = found.contrasts[MONITOR]
    # 4 pairs at the first look are too few for it
    assert contrast.looked == Looked(fractions=(0.5,), pairs=(9,))


def test_a_test_that_a_later_look_may_make_shares_the_level_from_the_first_on(home: Store) -> None:
    late = [*CLOSE[:4], math.nan]  # 4 pairs: no test at this look
    sweep = looked(home, {8: BASELINE[:5], 16: CLEAR, 32: late, 64: [math.nan] * 5}, taken=1)
    found = compare.compare(home, [sweep])
    clear, untested, _ = found.contrasts[MONITOR]
    p = stats.ttest_rel(CLEAR, BASELINE[:5]).pvalue / 0.35735
    assert clear.paired.holm == pytest.approx(2 * p, rel=1e-3)
    assert (untested.group.name, untested.paired.holm) == ("hidden=32", None)
    assert "2 comparisons (Holm)" in tables.contrast_caption(found, MONITOR)  # hidden=64 is out
    differences = np.array(CLEAR) - BASELINE[:5]
    half = stats.t.ppf(1 - 0.35735 * 0.05 / 4, 4) * differences.std(ddof=1) / math.sqrt(5)
    assert clear.paired.difference is not None
    assert clear.paired.difference.half == pytest.approx(half, rel=1e-3)


def test_a_config_without_any_value_is_not_asked_for_more(home: Store) -> None:
    sweep = looked(home, {8: BASELINE[:5], 16: [math.nan] * 5}, taken=1)
    assert compare.compare(home, [sweep]).undecided == []


def test_seeds_that_are_added_by_hand_are_a_further_look(home: Store) -> None:
    sweep = looked(home, {8: BASELINE[:5], 16: CLEAR}, taken=1)
    cells = [
        add(home, f"model.hidden={hidden}", f"seed={seed}", valid=[0.9 + seed / 1000])
        | {"group": f"model.hidden={hidden}"}
        for hidden in (8, 16)
        for seed in (30, 31)
    ]
    by_hand = home.manifest(manifest(home, cells, name="by hand"))
    alone = compare.compare(home, [by_hand])
    assert alone.notes[0] == (
        f"sweep {sweep['id'][:12]} has looked at some of these configs after 5, 10 and 20 seeds: "
        "this is a further look, for which neither p nor intervals are corrected"
    )
    both = compare.compare(home, [sweep, by_hand])
    assert both.notes[0] == (
        "2 of 2 configs have seeds beyond those of the looks: a further look, for which nothing is "
        "corrected; they are in the means, not in the differences"
    )
    (contrast,) = both.contrasts[MONITOR]
    assert contrast.paired.difference is not None
    assert contrast.paired.difference.n == 5
    assert compare.compare(home, [sweep]).notes == []


def test_a_replay_asks_for_the_seeds_that_the_looks_had_asked_for(home: Store) -> None:
    values = {8: BASELINE, 16: draws(0.95, 20), 32: CLOSE}
    sweep = looked(home, values, taken=0)
    del sweep["looks"]
    for cell in sweep["cells"]:
        cell["replica"] = {"seed": int(cell["overrides"][1].removeprefix("seed="))}
    home.write_manifest(sweep)
    table = replay(home, [sweep["id"]])
    assert table.about == "demo by valid/accuracy: 29 of 60 runs, 58 of 120 s of training."
    assert table.rows == [
        ["hidden=16", "better", "better", "look 1: 5 seeds"],
        [
            "hidden=32",
            "20 pairs cannot tell",
            "12 pairs cannot tell, nor would 20",
            "look 5: 12 seeds",
        ],
    ]
