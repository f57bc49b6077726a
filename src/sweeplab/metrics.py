"""Metric names, each written once; what an epoch yields; sums that stay on the device until they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TRAIN, VALID, TEST = "train", "valid", "test"
LOSS, ACCURACY, MAE = "loss", "accuracy", "mae"
TRAIN_LOSS, VALID_LOSS = f"{TRAIN}/{LOSS}", f"{VALID}/{LOSS}"
LEARNING_RATE = f"{TRAIN}/lr"
"""The learning rate with which the last batch of an epoch was trained; of several parameter groups `train/lr_0`, ..."""

BEST_EPOCH = "best_epoch"
EARLY_STOP_EPOCH = "early_stop_epoch"
PARAMETERS = "parameters"
EXAMPLES_PER_SECOND = "examples_per_second"
SECONDS = "seconds"

CLASSIFICATION, REGRESSION = "classification", "regression"
HIGHER_IS_BETTER = frozenset({ACCURACY, EXAMPLES_PER_SECOND})

AT_ONCE, LARGE = 32, 2**16  # batches that are added to the sums together; numbers in an output that is added alone


def score(task: str) -> str:
    """The metric that stands beside the loss: `accuracy` of a classification, `mae` of a regression."""
    return ACCURACY if task == CLASSIFICATION else MAE


def default_monitor(task: str) -> str:
    """What early stopping watches unless told otherwise: `valid/accuracy`, for a regression `valid/mae`.

    Unlike losses, these can be compared between runs with other losses, or other scales of the targets.
    """
    return f"{VALID}/{score(task)}"


def default_mode(monitor: str) -> str:
    """`max` for an accuracy, `min` for anything else (losses and errors)."""
    return "max" if monitor.rpartition("/")[2] in HIGHER_IS_BETTER else "min"


def mode_by_name(metric: str) -> str | None:
    """`max` or `min` for a metric that every run has of each epoch; None for one of the user's own."""
    split, _, name = metric.partition("/")
    return default_mode(metric) if split in (TRAIN, VALID) and name in (LOSS, ACCURACY, MAE) else None


def unreachable(metric: str, target: float) -> str:
    """Why a metric cannot reach this target, or does so whatever it is; '' where it may tell something."""
    name = metric.rpartition("/")[2]
    if not math.isfinite(target):
        return "must be a finite number"
    if name == ACCURACY and mode_by_name(metric) and not 0 < target <= 1:
        percent = f", as in {target / 100:g} for {target:g} %" if 2 <= target <= 100 else ""
        return f"{metric} is at least 0 and at most 1; give a number above 0, up to 1{percent}"
    if name == MAE and mode_by_name(metric) and target < 0:
        return f"{metric} is never below 0; give a number >= 0"
    return ""


def learning_rates(values: Sequence[float]) -> dict[str, float]:
    """Name the learning rates of an epoch, one for each parameter group."""
    if len(values) == 1:
        return {LEARNING_RATE: values[0]}
    return {f"{LEARNING_RATE}_{group}": value for group, value in enumerate(values)}


def is_learning_rate(name: str) -> bool:
    """Whether a metric of an epoch is a learning rate."""
    return name == LEARNING_RATE or name.startswith(f"{LEARNING_RATE}_")


def bounds(name: str) -> tuple[float, float]:
    """The least and the greatest value that a score can have; what else a run measures is not bounded."""
    measured = name.rpartition("/")[2]
    if measured == ACCURACY:
        return 0.0, 1.0
    return (0.0 if measured == MAE else -math.inf), math.inf


def watched(start: Mapping[str, Any]) -> tuple[str, str]:
    """(monitored metric, `max` or `min`) of a run, by the first line of its journal, whatever that lacks.

    Of runs that do not record what `auto` stood for, which was `valid/loss` for a regression, too.
    """
    config = start.get("config", {})
    trainer = {**config.get("trainer", {}), **start.get("asked", {}).get("trainer", {})}
    monitor, mode = trainer.get("monitor", "auto"), trainer.get("mode", "auto")
    if monitor == "auto":
        classes = config.get("data", {}).get("task", CLASSIFICATION) == CLASSIFICATION
        monitor = f"{VALID}/{ACCURACY}" if classes else VALID_LOSS
    return monitor, default_mode(monitor) if mode == "auto" else mode


def with_prefix(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """`{"loss": 0.1}` of the split `valid` -> `{"valid/loss": 0.1}`."""
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
        return all(math.isfinite(v) for k, v in self.metrics.items() if k in (TRAIN_LOSS, VALID_LOSS))


class Sums:
    """Loss and score summed over examples, on the device; reading them (`means`) is the only synchronisation.

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
        """`share` tells of a batch's targets how much its loss counts: by default as many as there are.

        `total`: the loss of all batches is their sum, not their mean. `unit`: what the targets of a regression were
        divided by; the mean absolute error is told in their own unit.
        """
        self._task, self._share_of, self._total = task, share, total
        self._unit = 1.0 if task == CLASSIFICATION else unit
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # batches not yet added: a few at once cost as one
        self._loss: Tensor | float = 0.0
        self._share: Tensor | float = 0.0
        self._score: Tensor | int = 0
        self._examples = 0

    def update(self, loss: Tensor, output: Tensor, target: Tensor) -> None:
        """Add a batch: `loss` is a scalar, `output` [B, C], `target` [B] classes or [B, C] values."""
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
        output, target = torch.cat(outputs), torch.cat(targets)
        if self._task == CLASSIFICATION:
            self._score += (output.argmax(dim=1) == target).sum()
        else:
            self._score += (output - target).abs().mean(dim=1).sum()
        self._waiting.clear()

    def _shares(self, targets: Sequence[Tensor]) -> Tensor:
        """How much each batch counts."""
        import torch

        if self._share_of is None:
            return torch.tensor([len(target) for target in targets])
        return torch.stack([self._share_of(target) for target in targets])

    @property
    def examples(self) -> int:
        return self._examples

    def totals(self) -> tuple[float, float, float, int]:
        """The sums of the losses, of what they count, and of the score; and of how many examples they are."""
        if self._waiting:
            self._add()
        return float(self._loss), float(self._share), float(self._score), self._examples

    def means(self) -> dict[str, float]:
        """`{"loss": ..., "accuracy" or "mae": ...}`, means over all examples; nan where there were none."""
        loss, shares, value, count = self.totals()
        of_one = 1.0 if self._total and count else shares or math.nan
        return {LOSS: loss / of_one, score(self._task): value / (count or math.nan) * self._unit}
