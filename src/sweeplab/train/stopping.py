"""Early stopping as a small state machine: which epoch is best so far, and whether this one is the last."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sweeplab import metrics
from sweeplab.config import Config
from sweeplab.metrics import EpochResult

PATIENCE, TARGET, MAX_EPOCHS = "patience", "target", "max_epochs"
TIME_LIMIT, DIVERGED, INTERRUPTED, PRUNED = "time_limit", "diverged", "interrupted", "pruned"
STATE = ("best", "best_epoch", "improved", "waited", "seconds")


@dataclass(kw_only=True, slots=True)
class Stopping:
    """Fed one epoch after the other; the fields after `min_delta` are the state that a resume needs.

    The best epoch is the best, however little better it is; `min_delta` decides only whether patience starts anew.
    """

    monitor: str  # the metric of an epoch that decides
    mode: str  # max | min
    epochs: int  # at most
    patience: int | None = None  # epochs without improvement before stopping
    target: float | None = None  # value of the monitored metric at which to stop
    time_limit: float | None = None  # seconds of training in all
    min_delta: float = 0.0  # to patience, a change of no more than this is no improvement
    best: float | None = None
    best_epoch: int | None = None
    improved: float | None = None  # the value that last counted as an improvement
    waited: int = 0  # epochs since then
    seconds: float = 0.0

    def update(self, result: EpochResult) -> str | None:
        """Take in an epoch: the reason to stop after it, or None. A non-finite loss stops before anything else."""
        self.seconds += result.seconds
        value = result.metrics[self.monitor]
        if not result.finite:
            return DIVERGED
        if self._is_better(value, self.best):
            self.best, self.best_epoch = value, result.epoch
        if self._is_better(value, self.improved, by=self.min_delta):
            self.improved, self.waited = value, 0
        else:
            self.waited += 1
        return self._reason(result.epoch, value)

    def _is_better(self, value: float, than: float | None, by: float = 0.0) -> bool:
        if math.isnan(value):
            return False
        if than is None:
            return True
        return value > than + by if self.mode == "max" else value < than - by

    def _reason(self, epoch: int, value: float) -> str | None:
        if self.target is not None and (value >= self.target if self.mode == "max" else value <= self.target):
            return TARGET
        if epoch >= self.epochs:
            return MAX_EPOCHS
        if self.patience is not None and self.waited >= self.patience:
            return PATIENCE
        return TIME_LIMIT if self.time_limit is not None and self.seconds >= self.time_limit else None

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {name: value for name, value in asdict(self).items() if name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of another process."""
        for name in STATE:
            setattr(self, name, state[name])


NEVER_NEGATIVE = (
    "CrossEntropyLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss",
    "MultiMarginLoss", "sweeplab.models.NLLLoss",
)  # fmt: skip
"""Losses of torch and sweeplab whose values are never below 0; torch's own NLLLoss takes any number."""


def problems(config: Config) -> list[str]:
    """What contradicts itself in how a run is watched: which way is better, what it is to reach, what is a change."""
    trainer, monitor, found = config.trainer, config.monitor, []
    natural = metrics.mode_by_name(monitor)
    if natural is not None and config.mode != natural:
        better = "larger" if natural == "max" else "smaller"
        found.append(f"trainer.mode={trainer.mode}: {monitor} is better the {better} it is; give {natural}, or auto")
    if trainer.target is not None:
        why = metrics.unreachable(monitor, trainer.target) or _below_zero(config, trainer.target)
        if why:
            found.append(f"trainer.target={trainer.target:g}: {why}")
    if monitor.endswith(metrics.ACCURACY) and natural and trainer.min_delta >= 1:
        found.append(f"trainer.min_delta={trainer.min_delta:g}: {monitor} never changes by more than 1; give less")
    return found


def _below_zero(config: Config, target: float) -> str:
    """Why the loss cannot reach a negative target; '' where it is no loss, or one that may be negative."""
    name = str(config.loss.get("_target_"))
    known = name in NEVER_NEGATIVE or (
        name.startswith(("torch.nn.", "sweeplab.")) and name.rpartition(".")[2] in NEVER_NEGATIVE
    )
    if config.monitor not in (metrics.TRAIN_LOSS, metrics.VALID_LOSS) or target >= 0 or not known:
        return ""
    return f"{config.monitor} is never below 0; give a number >= 0"
