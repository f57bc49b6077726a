"""Early stopping as a small state machine: which epoch is best so far, and whether this one is the last."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sweeplab.metrics import EpochResult

PATIENCE, TARGET, MAX_EPOCHS = "patience", "target", "max_epochs"
TIME_LIMIT, DIVERGED, INTERRUPTED, PRUNED = "time_limit", "diverged", "interrupted", "pruned"


@dataclass(kw_only=True, slots=True)
class Stopping:
    """Fed one epoch after the other; the fields after `min_delta` are the state that a resume needs."""

    monitor: str  # the metric of an epoch that decides
    mode: str  # max | min
    epochs: int  # at most
    patience: int | None = None  # epochs without improvement before stopping
    target: float | None = None  # value of the monitored metric at which to stop
    time_limit: float | None = None  # seconds of training in all
    min_delta: float = 0.0  # a change of no more than this is no improvement
    best: float | None = None
    best_epoch: int | None = None
    waited: int = 0
    seconds: float = 0.0

    def update(self, result: EpochResult) -> str | None:
        """Take in an epoch: the reason to stop after it, or None. A non-finite loss stops before anything else."""
        self.seconds += result.seconds
        value = result.metrics[self.monitor]
        if not result.finite:
            return DIVERGED
        if self._improves(value):
            self.best, self.best_epoch, self.waited = value, result.epoch, 0
        else:
            self.waited += 1
        return self._reason(result.epoch, value)

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value > self.best + self.min_delta if self.mode == "max" else value < self.best - self.min_delta

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
        return {k: v for k, v in asdict(self).items() if k in ("best", "best_epoch", "waited", "seconds")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of another process."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.waited, self.seconds = state["waited"], state["seconds"]
