"""Metric names, each written once; the result of an epoch; means that stay on the device until they
are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TRAIN, VALID, TEST = "train", "valid", "test"
LOSS, ACCURACY, MAE = "loss", "accuracy", "mae"
TRAIN_LOSS, VALID_LOSS = f"{TRAIN}/{LOSS}", f"{VALID}/{LOSS}"
LEARNING_RATE = f"{TRAIN}/lr"
"""The learning rate with which the last batch of an epoch was trained; of several parameter groups
`train/lr_0`, ...
"""

BEST_EPOCH = "best_epoch"
EARLY_STOP_EPOCH = "early_stop_epoch"
PARAMETERS = "parameters"
EXAMPLES_PER_SECOND = "examples_per_second"
SECONDS = "seconds"

CLASSIFICATION, REGRESSION, ANY = "classification", "regression", "any"
HIGHER_IS_BETTER = frozenset({ACCURACY, EXAMPLES_PER_SECOND})

AT_ONCE = 32  # batches that are added to the sums together: that costs no more than adding one
LARGE = 2**16  # numbers in an output that is added at once, since many such would fill the memory


def score(task: str) -> str:
    """Return what a run is judged by: `accuracy` of a classification, `mae` of a regression.

    Of any other task it is the loss.
    """
    return {CLASSIFICATION: ACCURACY, REGRESSION: MAE}.get(task, LOSS)


def default_monitor(task: str) -> str:
    """Return what early stopping watches by default: `valid/accuracy`, for a regression
    `valid/mae`, for any other task `valid/loss`.

    Unlike losses, the first two can be compared between runs with other losses, or other scales of the
    targets.
    """
    return f"{VALID}/{score(task)}"


def default_mode(monitor: str) -> str:
    """Return `max` for an accuracy, `min` for anything else (losses and errors)."""
    return "max" if monitor.rpartition("/")[2] in HIGHER_IS_BETTER else "min"


def mode_by_name(metric: str) -> str | None:
    """Return `max` or `min` for a metric that every run has of each epoch; None for one of the
    user's own.
    """
    split, _, name = metric.partition("/")
    if split in (TRAIN, VALID) and name in (LOSS, ACCURACY, MAE):
        return default_mode(metric)
    return None


def unreachable(metric: str, target: float) -> str:
    """Say why a metric never reaches this target, or always does; '' if the target is of use."""
    if not math.isfinite(target):
        return "must be a finite number"
    if mode_by_name(metric) is None:
        return ""
    name = metric.rpartition("/")[2]
    if name == ACCURACY and not 0 < target <= 1:
        advice = "give a number above 0, up to 1"
        if 2 <= target <= 100:
            advice += f", as in {target / 100:g} for {target:g} %"
        return f"{metric} is at least 0 and at most 1; {advice}"
    if name == MAE and target < 0:
        return f"{metric} is never below 0; give a number >= 0"
    return ""


def unfit_margin(metric: str, margin: float) -> str:
    """Say why a difference of a metric is no margin within which values are as good; '' if it is."""
    if not (math.isfinite(margin) and margin > 0):
        return "must be a finite number > 0"
    if mode_by_name(metric) == "max" and margin >= 1:
        advice = f"give a number below 1, as in {margin / 100:g} for {margin:g} %"
        return f"{metric} is at least 0 and at most 1; {advice}"
    return ""


def learning_rates(values: Sequence[float], part: str = "") -> dict[str, float]:
    """Name the learning rates of an epoch, one for each parameter group of an optimizer.

    `part` is the part of the network that the optimizer updates, if there are several.
    """
    name = f"{LEARNING_RATE}_{part}" if part else LEARNING_RATE
    if len(values) == 1:
        return {name: values[0]}
    return {f"{name}_{group}": value for group, value in enumerate(values)}


def is_learning_rate(name: str) -> bool:
    """Whether a metric of an epoch is a learning rate."""
    return name == LEARNING_RATE or name.startswith(f"{LEARNING_RATE}_")


def bounds(name: str) -> tuple[float, float]:
    """Return the least and the greatest value that a metric can have; only scores are bounded."""
    score_name = name.rpartition("/")[2]
    if score_name == ACCURACY:
        return 0.0, 1.0
    if score_name == MAE:
        return 0.0, math.inf
    return -math.inf, math.inf


def watched(start: Mapping[str, Any]) -> tuple[str, str]:
    """Return (monitored metric, `max` or `min`) of a run by the first line of its journal, whatever
    that lacks.

    A run that does not record what `auto` stood for is of an early version: `auto` was `valid/loss`
    for a regression.
    """
    config = start.get("config", {})
    trainer = {**config.get("trainer", {}), **start.get("asked", {}).get("trainer", {})}
    monitor, mode = trainer.get("monitor", "auto"), trainer.get("mode", "auto")
    if monitor == "auto":
        task = config.get("data", {}).get("task", CLASSIFICATION)
        monitor = f"{VALID}/{ACCURACY}" if task == CLASSIFICATION else VALID_LOSS
    if mode == "auto":
        mode = default_mode(monitor)
    return monitor, mode


def with_prefix(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """Turn `{"loss": 0.1}` of the split `valid` into `{"valid/loss": 0.1}`."""
    return {f"{split}/{name}": value for name, value in values.items()}


@dataclass(kw_only=True, slots=True, frozen=True)
class EpochResult:
    """What the loop yields after each epoch."""

    epoch: int  # from 1
    metrics: dict[str, float]  # train/loss, valid/accuracy, ...
    examples: int  # training examples seen in this epoch
    train_seconds: float  # wall time of the training part alone
    seconds: float  # wall time of training and validation

    @property
    def finite(self) -> bool:
        """Whether every loss of this epoch is a finite number."""
        losses = [self.metrics[name] for name in (TRAIN_LOSS, VALID_LOSS) if name in self.metrics]
        return all(map(math.isfinite, losses))


def classes(target: Tensor) -> Tensor:
    """Return the class of each example: of shares of the classes [B, C] the largest one's."""
    if target.is_floating_point():
        return target.argmax(dim=1)
    return target


class MetricAverager:
    """Means of loss and score over examples, summed on the device; only reading them synchronises
    with it.

    Correct predictions are counted in integers, so an accuracy is exact: not a mean of batch means.
    """

    def __init__(
        self,
        task: str,
        share: Callable[[Tensor], Tensor] | None = None,
        *,
        total: bool = False,
        unit: float = 1.0,
    ) -> None:
        """`share` returns how much the loss of a batch counts, given its targets: by default as
        many as there are.

        `total`: the loss of all batches is their sum, not their mean. `unit`: what the targets of a
        regression were divided by; the mean absolute error is returned in their own unit.
        """
        self._task = task
        self._share_of = share
        self._total = total
        self._unit = 1.0 if task == CLASSIFICATION else unit
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # loss, output, target of a batch
        self._loss: Tensor | float = 0.0
        self._share: Tensor | float = 0.0
        self._score: Tensor | int = 0
        self._examples = 0

    def update(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        """Add a batch: `loss` is a scalar, `output` [B, C], `target` [B] classes or [B, C]
        values, of a classification shares of the classes.
        """
        self._waiting.append((loss.detach(), output.detach(), target))
        self._examples += len(target)
        if len(self._waiting) == AT_ONCE or output.numel() > LARGE:
            self._add()

    def _add(self) -> None:
        import torch

        losses, outputs, targets = zip(*self._waiting, strict=True)
        # float32 sums of a few hundred terms lose digits; MPS has no float64.
        exact = torch.float32 if losses[0].device.type == "mps" else torch.float64
        shares = self._shares(targets).to(exact).to(losses[0].device, non_blocking=True)
        # The mean of a batch whose targets are all ignored is nan, and counts nothing.
        self._loss += (torch.stack(losses).to(exact) * shares).where(shares != 0, 0.0).sum()
        self._share += shares.sum()
        output = torch.cat(outputs)
        if self._task == CLASSIFICATION:
            target = torch.cat([classes(target) for target in targets])
            self._score += (output.argmax(dim=1) == target).sum()
        else:
            self._score += (output - torch.cat(targets)).abs().mean(dim=1).sum()
        self._waiting.clear()

    def _shares(self, targets: Sequence[Tensor]) -> Tensor:
        import torch

        if self._share_of is None:
            return torch.tensor([len(target) for target in targets])
        return torch.stack([self._share_of(target) for target in targets])

    @property
    def examples(self) -> int:
        return self._examples

    def totals(self) -> tuple[float, float, float, int]:
        """Return (sum of the losses, of their shares, of the scores, number of examples)."""
        if self._waiting:
            self._add()
        return float(self._loss), float(self._share), float(self._score), self._examples

    def means(self) -> dict[str, float]:
        """Return `{"loss": ..., "accuracy" or "mae": ...}`, means over all examples; nan if there
        were none.
        """
        loss, shares, scores, count = self.totals()
        divisor = shares or math.nan
        if self._total and count:
            divisor = 1.0
        return {LOSS: loss / divisor, score(self._task): scores / (count or math.nan) * self._unit}


def free_name(name: str, taken: Container[str], separator: str) -> str:
    """Return the name, or if it is taken, the name with the first free number behind it."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}{separator}{number}"
    return free
