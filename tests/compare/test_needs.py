"""What a comparison says of the pairs that would tell what these cannot."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from compared import add, factorial, manifest, summarise, widths
from scipy import stats

from sweeplab import compare
from sweeplab.compare import export, tables
from sweeplab.compare.groups import TO_TARGET
from sweeplab.store import Store


def two(home: Store, first: Sequence[float], second: Sequence[float]) -> compare.Comparison:
    """Two widths with these accuracies, seed by seed."""
    cells = []
    for width, values in ((8, first), (16, second)):
        for seed, value in enumerate(values):
            cells.append(add(home, f"model.hidden={width}", f"seed={seed}", valid=[value]))
    return summarise(home, manifest(home, cells))


def test_what_cannot_be_told_comes_with_what_it_takes(home: Store) -> None:
    found = summarise(home, widths(home))
    (one,) = found.contrasts["valid/accuracy"]  # 0.01, 0.02, 0.03: d_z = 2
    assert tables.contrast_row(one, 4)[-1] == "5 to 11"
    sentence = (
        "hidden=784: 3 pairs cannot tell; a difference of 0.02 would need about 5 to 11 (80 % power): "
        "4 to 16 more runs, 8 s to 32 s of one worker"
    )
    assert found.notes == [sentence]
    text = export.markdown(found)
    assert f"- {sentence}" in text
    assert "| pairs needed |" in text
    assert "; pairs needed: for 80 % power, with the spread as it was seen" in text


def test_the_level_is_divided_by_the_number_of_comparisons(home: Store) -> None:
    found = compare.compare(factorial(home), home.manifests(), baseline={"batch_norm": "false"})
    (one,) = (one for one in found.contrasts["valid/accuracy"] if one.need is not None)
    assert one.need is not None
    assert one.paired.d_z is not None
    pairs = one.need.pairs
    assert pairs is not None

    def power(n: int) -> float:
        threshold = stats.t.isf(0.05 / 3 / 2, n - 1)
        return float(stats.nct.sf(threshold, n - 1, abs(one.paired.d_z or 0) * n**0.5))

    assert power(pairs - 1) < 0.8 <= power(pairs)


def test_the_three_that_take_least_are_in_sentences(home: Store) -> None:
    cells = [add(home, "model.hidden=8", f"seed={seed}", valid=[0.5]) for seed in range(3)]
    for width, gain in ((16, 0.01), (32, 0.02), (64, 0.03), (128, 0.04), (256, 0.05)):
        for seed, noise in enumerate((-0.03, 0.01, 0.02)):
            run = add(home, f"model.hidden={width}", f"seed={seed}", valid=[0.5 + gain + noise])
            cells.append(run)
    manifest(home, cells, baseline="model.hidden=8")
    notes = compare.compare(home, home.manifests()).notes
    begins = [note.partition(":")[0] for note in notes if "would need about" in note]
    assert begins == ["hidden=256", "hidden=128", "hidden=64"]
    assert "2 more cannot tell: the column 'pairs needed' has what they take" in notes


@pytest.mark.parametrize(
    ("third", "why"),
    [
        (0.5, "their mean difference is 0"),
        (0.5001, "a difference of 3.3e-05 would need more than 1,000"),
    ],
)
def test_where_no_number_helps_it_is_said_what_these_pairs_can_show(
    home: Store, third: float, why: str
) -> None:
    found = two(home, [0.5, 0.5, 0.5], [0.51, 0.49, third])
    (one,) = found.contrasts["valid/accuracy"]
    assert tables.contrast_row(one, 4)[-1] == "> 1,000"
    can = "and 3 pairs can show a difference of 0.033 (80 % power)"
    assert found.notes == [f"hidden=16: 3 pairs cannot tell; {why}, {can}"]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([0.5], [0.75], "one pair only: a spread takes two"),
        ([0.5, 0.5], [0.75, 0.75], "differs alike in all 2 pairs: no spread to test by"),
        ([0.5, 0.5], [0.5, 0.5], "the same in all 2 pairs"),
        ([0.5, 0.5, 0.5], [0.75, 0.7501, 0.7502], "better"),
    ],
)
def test_without_a_spread_or_a_doubt_no_number_is_said(
    home: Store, first: list[float], second: list[float], verdict: str
) -> None:
    found = two(home, first, second)
    (one,) = found.contrasts["valid/accuracy"]
    assert (one.verdict, tables.contrast_row(one, 4)[-1]) == (verdict, "-")
    assert not any("would need" in note for note in found.notes)


def test_of_epochs_that_count_with_the_limit_no_number_is_said(home: Store) -> None:
    late = ("trainer.target=0.9", "trainer.epochs=3")
    cells = [
        add(home, f"model.hidden={width}", f"seed={seed}", *late, valid=[0.5] * misses + [0.95])
        for width, numbers in ((8, (1, 2, 1)), (16, (2, 1, 2)))
        for seed, misses in enumerate(numbers)
    ]
    cells.append(add(home, "model.hidden=16", "seed=3", *late, valid=[0.5, 0.5, 0.5]))
    cells.append(add(home, "model.hidden=8", "seed=3", *late, valid=[0.5, 0.95]))
    found = summarise(home, manifest(home, cells))
    (one,) = found.contrasts[TO_TARGET]
    assert (one.is_limited, one.need, one.cannot_tell) == (True, None, True)
    assert any(note.endswith("give them more trainer.epochs first") for note in found.notes)


def test_more_folds_are_no_more_pairs(home: Store) -> None:
    data = {"name": "mnist", "digest": "d" * 64, "train": 20, "test": 10}
    cells = []
    for width, values in ((8, (0.5, 0.6, 0.7)), (16, (0.55, 0.6, 0.72))):
        for fold, value in enumerate(values):
            folds = ("data.folds=3", f"data.fold={fold}")
            cells.append(add(home, f"model.hidden={width}", *folds, test=value, data=data))
    found = summarise(home, manifest(home, cells, replicate=["seed", "data.fold"]))
    (one,) = found.contrasts["test/accuracy"]
    assert (one.verdict, one.need) == ("3 pairs cannot tell", None)
    (note,) = [note for note in found.notes if note.startswith("n counts folds")]
    assert note.endswith("bring no further examples, so no number of pairs is called enough")
