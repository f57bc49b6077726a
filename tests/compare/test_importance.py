"""Importance of swept keys: by hand, against sums of squares, and what cannot be told."""

from __future__ import annotations

import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from compared import add, manifest, summarise

from benchmarks.importance import importance
from sweeplab import compare
from sweeplab.compare import export, variance
from sweeplab.compare.importance import Importance
from sweeplab.store import Store

TWO_BY_TWO = {"rate": ["1", "1", "2", "2"], "norm": ["on", "off", "on", "off"]}
RATES, NORMS = (0.1, 0.2), (True, False)


@pytest.fixture
def home(tmp_path: Path) -> Store:
    (tmp_path / "sweeps").mkdir()
    return Store(tmp_path)


def shares(levels: variance.Levels, values: np.ndarray) -> dict[str, float]:
    return {part.name: part.share for part in variance.divide(levels, values)}


def grid(home: Store, values: dict[tuple[float, bool, int], float]) -> Importance | None:
    """What is told of a sweep with these values by rate, norm and seed."""
    cells = [
        add(home, f"model.rate={rate}", f"model.batch_norm={norm}", f"seed={seed}", valid=[value])
        for (rate, norm, seed), value in values.items()
    ]
    return summarise(home, manifest(home, cells)).importance


def told(importance: Importance | None) -> Importance:
    assert importance is not None
    return importance


def test_two_by_two_by_hand() -> None:
    """Rate moves both seeds by 2.5 either way: 6.25. Norm: by 1 and by 0, whose product is 0. Both
    together: by 0.5 and 0.5. The variance of a run is 7, of which 0.5 is between seeds.
    """
    values = np.array([[1.0, 2.0], [2.0, 1.0], [5.0, 6.0], [8.0, 7.0]])
    assert shares(TWO_BY_TWO, values) == pytest.approx(
        {"rate": 6.25 / 7, "norm": 0.0, "interactions": 0.25 / 7, "chance": 0.5 / 7}
    )


def test_one_seed_gives_the_classical_shares_of_the_sum_of_squares() -> None:
    values = np.array([[1.0], [2.0], [5.0], [8.0]])
    assert shares(TWO_BY_TWO, values) == pytest.approx(
        {"rate": 6.25 / 7.5, "norm": 1 / 7.5, "interactions and chance": 0.25 / 7.5}
    )


def test_shares_agree_with_an_analysis_of_variance() -> None:
    """A main effect less its error, the key's interaction with the seeds, by sums of squares."""
    n = 5
    table = np.random.default_rng(0).normal(size=(3, 2, n))
    table[2] += 1.5
    grand, within = table.mean(), table.var(axis=2, ddof=1).mean()
    key, seeds, key_by_seed = table.mean((1, 2)), table.mean((0, 1)), table.mean(1)
    ss_key = 2 * n * ((key - grand) ** 2).sum()
    ss_error = 2 * ((key_by_seed - key[:, None] - seeds[None] + grand) ** 2).sum()
    cells = table.mean(2)
    ss_cells = n * ((cells - grand) ** 2).sum()
    residuals = table - cells[:, :, None] - seeds + grand
    part = (ss_key - ss_error / (n - 1)) / (6 * n)
    between = (ss_cells - (residuals**2).sum() / (n - 1)) / (6 * n)
    levels = {"key": ["a", "a", "b", "b", "c", "c"], "other": ["x", "y"] * 3}
    found = shares(levels, table.reshape(6, n))
    assert found["key"] == pytest.approx(part / (between + within))
    assert found["chance"] == pytest.approx(within / (between + within))


def test_an_incomplete_grid_is_averaged_over_the_orders_of_keys() -> None:
    """Three by three without the diagonal. What is all of the first key explains 1 if that comes
    first; the second one explains 1/4 by itself, and nothing more after the first.
    """
    cells = [(i, j) for i, j in product(range(3), repeat=2) if i != j]
    levels = {"first": [str(i) for i, _ in cells], "second": [str(j) for _, j in cells]}
    values = np.array([[float(i)] for i, _ in cells])
    assert shares(levels, values) == pytest.approx(
        {"first": 0.875, "second": 0.125, "interactions and chance": 0.0}, abs=1e-12
    )
    both = np.array([[float(i + j)] for i, j in cells])
    assert shares(levels, both)["first"] == pytest.approx(0.5)


def test_the_interval_is_that_of_all_resamples_of_five_seeds() -> None:
    """All 5^5 of them; at five seeds it goes from their 0.096th to their 99.904th percentile."""
    rng = np.random.default_rng(1)
    values = np.array([[0.0], [1.0], [2.0], [3.0]]) + rng.normal(size=(4, 5))
    drawn = []
    for seeds in product(range(5), repeat=5):
        pairs = [(s, t) for s in seeds for t in seeds if s != t]
        if pairs:
            firsts, seconds = values[:, [s for s, _ in pairs]], values[:, [t for _, t in pairs]]
            effect = [(v[2:].mean(0) - v[:2].mean(0)) / 2 for v in (firsts, seconds)]
            whole = (firsts**2 + seconds**2).mean() / 2 - (firsts.mean(0) * seconds.mean(0)).mean()
            drawn.append((effect[0] * effect[1]).mean() / whole)
    rate = variance.divide(TWO_BY_TWO, values)[0]
    low, high = np.quantile(np.clip(drawn, 0, 1), [0.00096, 0.99904])
    assert (rate.low, rate.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert rate == variance.divide(TWO_BY_TWO, values)[0], "the same resamples each time"


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        (TWO_BY_TWO, ""),
        ({"a": ["1", "2", "3"], "b": ["x", "y", "z"]}, "a and b vary together"),
        ({"a": ["1", "1", "2", "2"], "b": ["x", "x", "y", "y"], "c": ["0", "1", "0", "1"]}, "a and b vary together"),
        ({"a": ["1", "1", "2"], "b": ["x", "y", "x"]}, "3 configs are too few to tell 2 keys from their interactions"),
        ({name: ["1", "2", "1"] for name in "abcdefghi"}, "combinations are missing, of more than 8 keys"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_said(levels: variance.Levels, why: str) -> None:
    assert variance.why_indivisible(levels) == why


def test_a_grid_is_told_in_every_form(home: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    cells = []
    for rate, norm, seed in product(RATES, NORMS, range(5)):
        value = 0.9 + 0.05 * (rate == 0.2) + 0.002 * rng.normal()
        words = f"model.rate={rate}", f"model.batch_norm={norm}", f"seed={seed}"
        cells.append(add(home, *words, valid=[value]))
    result = summarise(home, manifest(home, cells))
    names = [share.name for share in told(result.importance).shares]
    assert names == ["model.rate", "model.batch_norm", "interactions", "chance (seed)"]
    compare.show(result)
    out = capsys.readouterr().out
    assert "importance for valid/accuracy" in out
    assert "shares of the variance between runs: main effects in 4 configs x 5 seeds" in out
    rate = told(result.importance).shares[0]
    assert rate.share > 0.98
    assert rate.low is not None
    assert rate.high is not None
    assert 0.95 < rate.low < rate.share < rate.high <= 1
    row = f"| {100 * rate.share:.0f} % | {100 * rate.low:.0f} to {100 * rate.high:.0f} % |"
    assert f"| model.rate {row}" in compare.markdown(result)
    assert f"\nmodel.rate,{rate.share},{rate.low},{rate.high}\n" in export.importance_csv(
        told(result.importance)
    )


def test_few_seeds_have_shares_without_intervals(home: Store) -> None:
    runs = product(RATES, NORMS, range(4))
    values = {run: 0.9 + run[0] / 10 + run[2] / 1000 for run in runs}
    del values[0.1, True, 0]
    found = told(grid(home, values))
    assert found.shares[0].low is None
    assert found.caption == (
        "shares of the variance between runs: main effects in 4 configs x 3 seeds, of 4, that all of them have; "
        "without what chance adds to them; no interval: 3 seeds are too few, 5 would do"
    )


def test_one_seed_cannot_tell_chance(home: Store) -> None:
    found = told(grid(home, {(r, n, 0): 0.5 + r + n / 10 for r, n in product(RATES, NORMS)}))
    assert [share.name for share in found.shares][-1] == "interactions and chance (seed)"
    assert "one seed cannot tell chance, which is in every share" in found.caption


def test_missing_combinations_are_named_and_too_many_refused(home: Store) -> None:
    values = {(r, n, 0): 0.5 + r for r, n in product((0.1, 0.2, 0.3), NORMS)}
    del values[0.3, False, 0]
    found = told(grid(home, values))
    assert "some combinations are missing: averaged over the orders" in found.caption
    assert found.shares[0].name == "model.rate"


def test_keys_that_vary_together_have_no_shares(
    home: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        add(home, f"model.rate={rate}", f"model.dropout={rate}", f"seed={seed}", valid=[rate])
        for rate, seed in product((0.1, 0.2, 0.3), range(2))
    ]
    result = summarise(home, manifest(home, cells))
    said = (
        "importance for valid/accuracy cannot be told: model.rate and model.dropout vary together"
    )
    assert told(result.importance) == Importance(about=said)
    compare.show(result)
    assert f"{said}\n" in capsys.readouterr().out
    assert f"\n\n{said.replace('_', chr(92) + '_')}\n\n- " in compare.markdown(result)


def test_without_a_common_seed_nothing_is_told(home: Store) -> None:
    runs = enumerate(product(RATES, NORMS))
    found = told(grid(home, {(rate, norm, seed): 0.5 + seed / 10 for seed, (rate, norm) in runs}))
    assert found.about.endswith("cannot be told: no seed has a value in every config")


def test_one_key_or_no_variance_has_no_table(home: Store) -> None:
    one = [add(home, f"model.rate={r}", f"seed={s}", valid=[r]) for r, s in product(RATES, (0, 1))]
    assert summarise(home, manifest(home, one)).importance is None
    assert grid(home, {(r, n, 0): 0.5 for r, n in product(RATES, NORMS)}) is None


def test_memory_of_many_seeds_is_linear_in_them() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5_000))  # whose pairs would take 800 MB
    tracemalloc.start()
    found = variance.divide(TWO_BY_TWO, values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [share.name for share in found] == ["rate", "norm", "interactions", "chance"]
    assert peak < 50e6


@pytest.mark.full
def test_intervals_of_simulated_sweeps_hold_the_true_share() -> None:
    """In 86 to 100 of 100, by benchmarks/README.md; of 100 here."""
    table = importance(np.random.default_rng(0), 1000)
    held = [float(cell.split()[0]) for row in table.rows for cell in row[2:]]
    assert len(held) == 4 * 3 * 3
    assert min(held) >= 78
    assert 90 <= np.mean(held) <= 99


def test_folds_have_shares_without_intervals(home: Store) -> None:
    data = {"name": "mnist", "digest": "d" * 64, "test": 20, "train": 80}
    cells = []
    for rate, norm, fold in product(RATES, NORMS, range(5)):
        words = (
            f"model.rate={rate}",
            f"model.batch_norm={norm}",
            "data.folds=5",
            f"data.fold={fold}",
        )
        cells.append(add(home, *words, data=data, valid=[0.5 + rate + fold / 100]))
    found = told(summarise(home, manifest(home, cells, replicate=["data.fold"])).importance)
    assert [(share.name, share.low) for share in found.shares][-1] == ("chance (folds)", None)
    assert found.caption.endswith(
        "without what chance adds to them; no interval: folds share examples"
    )


def test_values_that_do_not_compare_are_not_divided(home: Store) -> None:
    cells = []
    for rate, norm in product(RATES, NORMS):
        words = (
            f"model.rate={rate}",
            f"model.batch_norm={norm}",
            f"trainer.limit_batches={1 + norm}",
        )
        cells.append(add(home, *words, "seed=0", valid=[0.5 + rate]))
    found = told(summarise(home, manifest(home, cells)).importance)
    said = "importance for valid/accuracy cannot be told: it is another number where trainer.limit_batches is"
    assert found == Importance(about=said)
