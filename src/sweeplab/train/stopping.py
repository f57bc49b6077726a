"""Early stopping as a small state machine: which epoch is best, and which the last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sweeplab.metrics import EpochResult


class StopReason(StrEnum):
    """Why an epoch was the last one."""

    PATIENCE = "patience"
    TARGET = "target"
    MAX_EPOCHS = "max_epochs"
    TIME_LIMIT = "time_limit"
    DIVERGED = "diverged"  # the loss was no finite number
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"  # by a search


# The names stand in checkpoints.
STATE = ("best", "best_epoch", "improved", "waited", "seconds")


@dataclass(kw_only=True, slots=True)
class Stopping:
    """Takes in one epoch after the other; the fields that STATE names are what a resume needs.

    The best epoch is the best, however little better it is; `min_delta` decides only whether
    patience starts anew.
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

    def update(self, result: EpochResult) -> StopReason | None:
        """Take in an epoch; returns the reason to stop after it, or None.

        A non-finite loss stops before anything else.
        """
        self.seconds += result.seconds
        value = result.metrics[self.monitor]
        if not result.finite:
            return StopReason.DIVERGED
        if self._is_better(value, self.best):
            self.best, self.best_epoch = value, result.epoch
        if self._is_better(value, self.improved, by=self.min_delta):
            self.improved, self.waited = value, 0
        else:
            self.waited += 1
        return self.reason(result.epoch, result.metrics)

    def _is_better(self, value: float, than: float | None, by: float = 0.0) -> bool:
        if math.isnan(value):
            return False
        if than is None:
            return True
        if self.mode == "max":
            return value > than + by
        return value < than - by

    def reason(self, epoch: int, values: Mapping[str, float]) -> StopReason | None:
        """Return why training ends after an epoch that was taken in; None if it does not."""
        value = values.get(self.monitor, math.nan)
        if self.target is not None and self._reaches(value, self.target):
            return StopReason.TARGET
        if epoch >= self.epochs:
            return StopReason.MAX_EPOCHS
        if self.patience is not None and self.waited >= self.patience:
            return StopReason.PATIENCE
        if self.time_limit is not None and self.seconds >= self.time_limit:
            return StopReason.TIME_LIMIT
        return None

    def _reaches(self, value: float, target: float) -> bool:
        if self.mode == "max":
            return value >= target
        return value <= target

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {name: value for name, value in asdict(self).items() if name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of another process."""
        for name in STATE:
            setattr(self, name, state[name])
