"""Early stopping: the best epoch, and the reason for which an epoch is the last."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sweeplab.metrics import EpochResult
from sweeplab.train.stopping import Stopping


def stopping(**changes: Any) -> Stopping:
    return Stopping(**{"monitor": "valid/accuracy", "mode": "max", "epochs": 100, **changes})


def result(epoch: int, value: float, *, loss: float = 1.0, seconds: float = 1.0) -> EpochResult:
    """An epoch with this value of both monitored metrics of these tests."""
    metrics = {"train/loss": loss, "valid/loss": loss, "valid/accuracy": value, "valid/mae": value}
    return EpochResult(
        epoch=epoch, metrics=metrics, examples=10, train_seconds=seconds / 2, seconds=seconds
    )


def feed(stop: Stopping, *values: float) -> list[str | None]:
    return [stop.update(result(epoch, value)) for epoch, value in enumerate(values, 1)]


def test_it_stops_after_patience_epochs_without_improvement() -> None:
    stop = stopping(patience=2)
    assert feed(stop, 0.5, 0.7, 0.6, 0.6) == [None, None, None, "patience"]
    assert (stop.best, stop.best_epoch) == (0.7, 2)


def test_an_improvement_starts_the_wait_anew() -> None:
    assert feed(stopping(patience=2), 0.5, 0.4, 0.6, 0.5, 0.5) == [
        None,
        None,
        None,
        None,
        "patience",
    ]


def test_an_equal_value_is_no_improvement() -> None:
    stop = stopping(patience=1)
    assert feed(stop, 0.5, 0.5) == [None, "patience"]
    assert stop.best_epoch == 1


def test_without_patience_it_waits_for_ever() -> None:
    assert feed(stopping(patience=None), *[0.5] * 50) == [None] * 50


def test_to_patience_a_change_of_no_more_than_min_delta_is_no_improvement() -> None:
    stop = stopping(min_delta=0.25, patience=2)
    assert feed(stop, 0.25, 0.5, 0.75) == [None, None, None]
    assert (stop.improved, stop.waited) == (
        0.75,
        0,
    )  # 0.5 is 0.25 more than 0.25, and 0.75 is 0.5 more
    assert feed(stopping(min_delta=0.25, patience=2), 0.25, 0.5, 0.5) == [None, None, "patience"]


@pytest.mark.parametrize(("mode", "values"), [("max", (0.5, 0.6, 0.55)), ("min", (0.5, 0.4, 0.45))])
def test_the_best_is_the_best_whatever_min_delta_is(mode: str, values: tuple[float, ...]) -> None:
    stop = stopping(mode=mode, monitor="valid/mae", min_delta=0.25)
    feed(stop, *values)
    assert (stop.best, stop.best_epoch) == (values[1], 2)
    assert (stop.improved, stop.waited) == (0.5, 2)


@pytest.mark.parametrize(("mode", "values"), [("max", (0.79, 0.84)), ("min", (0.21, 0.16))])
def test_the_epoch_that_reaches_the_target_is_the_best(
    mode: str, values: tuple[float, float]
) -> None:
    stop = stopping(mode=mode, monitor="valid/mae", min_delta=0.1, target=values[1])
    assert feed(stop, *values) == [None, "target"]
    assert (stop.best, stop.best_epoch) == (values[1], 2)


@pytest.mark.parametrize(("mode", "best_epoch"), [("max", 2), ("min", 3)])
def test_mode_says_which_way_is_better(mode: str, best_epoch: int) -> None:
    stop = stopping(mode=mode, monitor="valid/mae")
    feed(stop, 0.5, 0.75, 0.25)
    assert stop.best_epoch == best_epoch


def test_min_delta_works_downwards_too() -> None:
    stop = stopping(mode="min", monitor="valid/mae", min_delta=0.25)
    feed(stop, 1.0, 0.75, 0.5)
    assert (stop.improved, stop.waited) == (0.5, 0)
    assert (
        feed(
            stopping(mode="min", monitor="valid/mae", min_delta=0.25, patience=2), 1.0, 0.75, 0.76
        )[-1]
        == "patience"
    )


@pytest.mark.parametrize(("mode", "values"), [("max", (0.5, 0.98)), ("min", (1.5, 0.98))])
def test_it_stops_when_the_target_is_reached(mode: str, values: tuple[float, float]) -> None:
    assert feed(stopping(mode=mode, monitor="valid/mae", target=0.98), *values) == [None, "target"]


def test_it_stops_after_the_last_epoch() -> None:
    assert feed(stopping(epochs=2), 0.5, 0.6) == [None, "max_epochs"]


def test_it_stops_after_the_epoch_that_exceeds_the_time_limit() -> None:
    stop = stopping(time_limit=2.5)
    assert feed(stop, 0.5, 0.6, 0.7) == [None, None, "time_limit"]
    assert stop.seconds == 3.0


def test_of_several_reasons_the_strongest_is_given() -> None:
    everything = {"epochs": 2, "patience": 1, "time_limit": 1.5}
    assert feed(stopping(**everything, target=0.5), 0.4, 0.5)[-1] == "target"
    assert feed(stopping(**everything), 0.5, 0.5)[-1] == "max_epochs"
    assert feed(stopping(patience=1, time_limit=1.5), 0.5, 0.5)[-1] == "patience"


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_finite_number_stops_before_all_else(loss: float) -> None:
    stop = stopping(target=0.5)
    stop.update(result(1, 0.4))
    assert stop.update(result(2, 0.9, loss=loss)) == "diverged"
    assert (stop.best, stop.best_epoch) == (0.4, 1)


def test_a_run_that_diverges_at_once_has_no_best_epoch() -> None:
    stop = stopping()
    assert stop.update(result(1, 0.9, loss=math.nan)) == "diverged"
    assert stop.best_epoch is None


def test_nan_is_never_the_best() -> None:
    stop = stopping(patience=2)
    assert feed(stop, math.nan, 0.5, math.nan, math.nan) == [None, None, None, "patience"]
    assert (stop.best, stop.best_epoch) == (0.5, 2)


def test_its_state_goes_on_in_another_process() -> None:
    first = stopping(patience=2, min_delta=0.25)
    feed(first, 0.5, 0.6)
    second = stopping(patience=2, min_delta=0.25)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second == first
    assert first.state_dict() == {
        "best": 0.6,
        "best_epoch": 2,
        "improved": 0.5,
        "waited": 1,
        "seconds": 2.0,
    }
    assert second.update(result(3, 0.7)) == "patience"
    assert second.best_epoch == 3
