"""What difference a plan can show, by the spread of earlier runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from planning import Planned, planner, record
from scipy import stats

from sweeplab.compare.sequential import Looked
from sweeplab.sweep import preview
from sweeplab.sweep.resolution import resolution


@pytest.fixture(scope="module")
def composing() -> Iterator[Planned]:
    with planner() as plan:
        yield plan


@pytest.fixture
def planned(composing: Planned, root: Path) -> Planned:
    return composing


WIDTHS = ("model.hidden=8,16", "trainer.epochs=2")
FIVE = "seed=range(5)"
BEST = (0.90, 0.91, 0.92)  # of each config: standard deviation 0.01, two degrees of freedom


def train(planned: Planned, *overrides: str, best: Sequence[float] = BEST) -> None:
    """Record runs of a sweep over seeds, with these values seed by seed."""
    cells = planned(*overrides, f"seed=range({len(best)})").cells
    for cell in cells:
        record(cell.job, best=best[cell.job.config.seed])


def shown(deviation: float, n: int, comparisons: float) -> float:
    """The difference that a two-sided test of n pairs shows with 80 % power."""
    threshold = stats.t.isf(0.025 / comparisons, n - 1)
    least, most = 0.0, 100.0
    for _ in range(60):
        middle = (least + most) / 2
        if stats.nct.sf(threshold, n - 1, middle * math.sqrt(n) / deviation) < 0.8:
            least = middle
        else:
            most = middle
    return least


def test_it_is_told_by_the_earlier_runs_of_the_same_configs(planned: Planned) -> None:
    train(planned, *WIDTHS)
    train(planned, "model.hidden=32", best=(0.1, 0.9))
    expected = shown(math.sqrt(2) * 0.01, 5, 1)  # 0.0238
    assert expected == pytest.approx(1.681997 * math.sqrt(2) * 0.01, rel=1e-5)
    most = expected * math.sqrt(4 / stats.chi2.ppf(0.2, 4))
    assert f"{expected:.2g} to {most:.2g}" == "0.024 to 0.037"
    assert resolution(planned(*WIDTHS, FIVE)) == (
        "5 seeds can show a difference of 0.024 to 0.037 in valid/accuracy (80 % power, 1 comparison), "
        "by the spread of 6 earlier runs of these configs"
    )


def test_a_sweep_with_looks_can_show_what_its_last_look_can(planned: Planned) -> None:
    train(planned, *WIDTHS)
    said = resolution(planned(*WIDTHS, "sweep.seeds.until=decided", "sweep.seeds.max=5"))
    assert said.startswith("5 seeds can show a difference of 0.024 to 0.037 "), "one look"
    three, looks = ("model.hidden=8,16,32", "trainer.epochs=2"), "sweep.seeds.looks=[5,10]"
    said = resolution(planned(*three, "sweep.seeds.until=decided", "sweep.seeds.max=20", looks))
    level = Looked(fractions=(0.25, 0.5, 1.0), pairs=(5, 10, 20)).level(0.05 / 3)
    least = shown(math.sqrt(2) * 0.01, 20, 0.05 / level)
    assert said.startswith(f"20 seeds can show a difference of {least:.2g} to ")
    assert "(80 % power, 3 comparisons)" in said


def test_where_there_are_none_other_configs_on_the_same_data_tell(planned: Planned) -> None:
    train(planned, "model.hidden=32")
    train(planned, "model.hidden=64", "trainer.monitor=valid/loss", best=(0.1, 0.9))
    said = resolution(planned(*WIDTHS, "model.batch_norm=true,false", FIVE))
    least = shown(math.sqrt(2) * 0.01, 5, 3)
    assert f"a difference of {least:.2g} to " in said
    assert "(80 % power, 3 comparisons), by the spread of " in said
    baseline = "sweep.baseline='model.batch_norm=false'"
    fewer = resolution(planned(*WIDTHS, "model.batch_norm=true,false", FIVE, baseline))
    assert "(80 % power, 2 comparisons)" in fewer


def test_where_nothing_is_known_or_compared_nothing_is_said(planned: Planned) -> None:
    plan = planned(*WIDTHS, "seed=0,1")
    assert resolution(plan) == ""
    record(plan.cells[0].job, best=0.5)
    assert resolution(plan) == "", "one run has no spread"
    train(planned, "model.hidden=64", best=(0.5, 0.5))
    assert resolution(plan) == "", "equal runs have none"
    train(planned, "model.hidden=32", best=(0.5, 0.6))
    assert resolution(plan) != ""
    assert resolution(planned("model.hidden=8", "seed=0,1")) == "", "one config"
    folds = ("data.folds=2", "data.fold=0,1")
    assert resolution(planned(*WIDTHS, *folds)) == "", "folds"
    one = "one seed each: no difference can be told from chance"
    assert resolution(planned(*WIDTHS)) == one


def test_no_difference_is_promised_that_there_cannot_be(planned: Planned) -> None:
    """Two accuracies are never more than 1 apart; two pairs need 30 SDs of a run for 80 % power."""
    train(planned, *WIDTHS, best=(0.4, 0.5, 0.6))
    least = shown(math.sqrt(2) * 0.1, 2, 1)
    assert least > 1
    said = resolution(planned(*WIDTHS, "seed=0,1"))
    assert said.startswith(
        "2 seeds can show no difference, not even the largest that there can be, in valid/accuracy "
    )
    train(planned, *WIDTHS, "optimizer.lr=0.5", best=(0.3, 0.5, 0.7))
    said = resolution(planned(*WIDTHS, "optimizer.lr=0.5", "seed=range(3)"))
    least = shown(math.sqrt(2) * 0.2, 3, 1)
    assert said.startswith(f"3 seeds can show a difference of {least:.2g} at best in ")


def test_the_plan_shows_it(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    train(planned, *WIDTHS)
    preview.show(planned(*WIDTHS, "seed=range(3)"))
    said = "3 seeds can show a difference of 0.046 to 0.072 in valid/accuracy (80 % power, "
    assert f"\n{said}" in capsys.readouterr().out
