"""Metrics: their names, and sums that are exact whatever the sizes of the batches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeplab.metrics import (
    AT_ONCE,
    CLASSIFICATION,
    LARGE,
    REGRESSION,
    EpochResult,
    MetricAverager,
    default_mode,
    default_monitor,
    is_learning_rate,
    learning_rates,
    score,
    unreachable,
    watched,
)
from sweeplab.metrics import with_prefix as prefixed


def votes(classes: list[int]) -> Tensor:
    """Outputs [B, 3] whose argmax are these classes."""
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


def epoch(**metrics: float) -> EpochResult:
    named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    return EpochResult(epoch=1, metrics=named, examples=1, train_seconds=0.1, seconds=0.2)


def test_a_classification_is_scored_by_accuracy_and_a_regression_by_mae() -> None:
    assert score(CLASSIFICATION) == "accuracy"
    assert score(REGRESSION) == "mae"


def test_validation_is_monitored_unless_told_otherwise() -> None:
    assert default_monitor(CLASSIFICATION) == "valid/accuracy"
    assert default_monitor(REGRESSION) == "valid/mae"


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("valid/accuracy", "max"),
        ("examples_per_second", "max"),
        ("train/accuracy", "max"),
        ("valid/loss", "min"),
        ("valid/mae", "min"),
    ],
)
def test_an_accuracy_is_better_when_higher_and_all_else_when_lower(monitor: str, mode: str) -> None:
    assert default_mode(monitor) == mode


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("valid/accuracy", "max")),
        ({"trainer": {"monitor": "auto", "mode": "auto"}}, ("valid/accuracy", "max")),
        ({"data": {"task": "regression"}, "trainer": {"monitor": "auto"}}, ("valid/loss", "min")),
        ({"trainer": {"monitor": "valid/loss"}}, ("valid/loss", "min")),
        ({"trainer": {"monitor": "valid/f1", "mode": "max"}}, ("valid/f1", "max")),
        (
            {"data": {"task": "regression"}, "trainer": {"monitor": "train/accuracy"}},
            ("train/accuracy", "max"),
        ),
    ],
)
def test_what_an_older_record_watches(config: dict[str, Any], expected: tuple[str, str]) -> None:
    assert watched({"config": config}) == expected


@pytest.mark.parametrize(
    ("metric", "target", "why"),
    [
        ("valid/accuracy", 0.98, ""),
        ("valid/accuracy", 1.0, ""),
        ("valid/accuracy", 98.0, "a number above 0, up to 1, as in 0.98 for 98 %"),
        ("train/accuracy", 1.5, "a number above 0, up to 1"),
        ("valid/accuracy", 0.0, "a number above 0, up to 1"),
        ("valid/accuracy", math.nan, "must be a finite number"),
        ("valid/mae", 85.0, ""),
        ("valid/mae", -0.1, "valid/mae is never below 0"),
        ("valid/loss", -1.0, ""),  # a loss of the user's own may be negative
        ("valid/f1", 85.0, ""),
        ("valid/f1", math.inf, "must be a finite number"),
    ],
)
def test_what_a_metric_cannot_reach(metric: str, target: float, why: str) -> None:
    assert why in unreachable(metric, target)
    assert bool(why) == bool(unreachable(metric, target))


def test_learning_rates_are_numbered_if_there_are_several() -> None:
    assert learning_rates([0.1]) == {"train/lr": 0.1}
    assert learning_rates([0.1, 0.2]) == {"train/lr_0": 0.1, "train/lr_1": 0.2}
    assert learning_rates([]) == {}
    assert [
        is_learning_rate(name) for name in ("train/lr", "train/lr_3", "train/loss", "valid/lr")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_names_get_their_split_in_front() -> None:
    assert prefixed("valid", {"loss": 0.5, "f1": 0.25}) == {"valid/loss": 0.5, "valid/f1": 0.25}


def test_accuracy_counts_examples_and_not_batches() -> None:
    sums = MetricAverager(CLASSIFICATION)
    zero = torch.tensor(0.0)
    sums.update(zero, votes([0, 1, 2, 0]), torch.tensor([0, 1, 2, 0]))  # 4 of 4
    sums.update(zero, votes([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1]))  # 3 of 4
    sums.update(zero, votes([0]), torch.tensor([1]))  # 0 of 1
    assert sums.means()["accuracy"] == 7 / 9
    assert sums.examples == 9


def test_the_class_of_an_example_is_the_one_with_the_largest_share() -> None:
    sums = MetricAverager(CLASSIFICATION)
    sums.update(torch.tensor(0.0), votes([0, 1, 2]), torch.tensor([[0.6, 0.4, 0], [0.6, 0.4, 0], [0, 0.1, 0.9]]))  # fmt: skip
    sums.update(torch.tensor(0.0), votes([2]), torch.tensor([2]))
    assert sums.means()["accuracy"] == 3 / 4


def test_loss_is_weighted_by_the_size_of_its_batch() -> None:
    sums = MetricAverager(CLASSIFICATION)
    sums.update(torch.tensor(1.0), votes([0, 0, 0]), torch.tensor([0, 0, 0]))
    sums.update(torch.tensor(5.0), votes([0]), torch.tensor([0]))
    assert sums.means()["loss"] == 2.0  # (3 * 1 + 1 * 5) / 4


def test_a_long_sum_loses_no_digits() -> None:
    sums = MetricAverager(CLASSIFICATION)
    for loss in (2.0**24, 1.0, 1.0):  # in float32, 2**24 + 1 is 2**24
        sums.update(torch.tensor(loss), votes([0]), torch.tensor([0]))
    assert sums.means()["loss"] == (2**24 + 2) / 3


@pytest.mark.parametrize("batches", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
def test_batches_that_are_added_together_are_each_counted_once(batches: int) -> None:
    sums = MetricAverager(CLASSIFICATION)
    for number in range(batches):
        sums.update(torch.tensor(float(number)), votes([0, 1]), torch.tensor([0, 0]))
    assert sums.means() == {"loss": (batches - 1) / 2, "accuracy": 0.5}
    assert sums.means() == {"loss": (batches - 1) / 2, "accuracy": 0.5}, "read again"


def test_large_outputs_do_not_wait() -> None:
    sums = MetricAverager(CLASSIFICATION)
    sums.update(torch.tensor(1.0), torch.zeros(1, LARGE + 1), torch.tensor([0]))
    assert sums._waiting == []
    assert sums.means() == {"loss": 1.0, "accuracy": 1.0}


def test_mae_is_the_mean_over_examples_of_the_mean_over_values() -> None:
    sums = MetricAverager(REGRESSION)
    sums.update(
        torch.tensor(0.0),
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[0.0, 4.0], [0.0, 0.0]]),
    )
    sums.update(torch.tensor(0.0), torch.tensor([[3.0, -3.0]]), torch.tensor([[0.0, 0.0]]))
    assert sums.means()["mae"] == 1.5  # (1.5 + 0 + 3) / 3


def test_sums_keep_no_graph() -> None:
    weight = torch.ones(1, 3, requires_grad=True)
    sums = MetricAverager(REGRESSION)
    sums.update(weight.sum(), weight * 2, torch.zeros(1, 3))
    assert sums.means() == {"loss": 3.0, "mae": 2.0}
    sums.update(weight.sum(), weight * 2, torch.zeros(1, 3))
    assert not any(part.requires_grad for part in sums._waiting[0])


def test_no_examples_have_no_mean() -> None:
    means = MetricAverager(REGRESSION).means()
    assert list(means) == ["loss", "mae"]
    assert all(math.isnan(value) for value in means.values())


def test_an_epoch_is_finite_while_its_losses_are() -> None:
    assert epoch(train_loss=0.5, valid_loss=0.5).finite
    assert not epoch(train_loss=math.nan, valid_loss=0.5).finite
    assert not epoch(train_loss=0.5, valid_loss=math.inf).finite
    assert epoch(
        train_loss=0.5, valid_loss=0.5, valid_f1=math.nan
    ).finite  # a further metric is not a loss


def test_the_mean_absolute_error_is_told_in_the_unit_of_the_targets() -> None:
    sums = MetricAverager("regression", unit=100.0)
    sums.update(torch.tensor(0.5), torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [2.25]]))
    assert sums.means() == {"loss": 0.5, "mae": 37.5}
    sums = MetricAverager("classification", unit=100.0)
    sums.update(torch.tensor(0.5), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    assert sums.means() == {"loss": 0.5, "accuracy": 0.5}


def test_what_an_older_run_watched_is_what_was_the_default_then() -> None:
    regression = {"data": {"task": "regression"}, "trainer": {"monitor": "auto", "mode": "auto"}}
    assert watched({"config": regression}) == ("valid/loss", "min")
    now = {"config": regression, "asked": {"trainer": {"monitor": "valid/mae", "mode": "min"}}}
    assert watched(now) == ("valid/mae", "min")
    assert watched({}) == ("valid/accuracy", "max")
