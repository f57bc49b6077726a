"""The metric: update / compute / reset, as torchmetrics has them, whose metrics can be used in its place."""

import torch
from torch import Tensor


class Recall:
    """Of the examples of one class, the share that is found."""

    def __init__(self, of: int) -> None:
        self.of = of
        self.reset()

    def reset(self) -> None:
        self.found = self.all = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        """A batch: outputs [B, C], classes [B]."""
        mine = target == self.of
        self.found += int((mine & (output.argmax(dim=1) == self.of)).sum())
        self.all += int(mine.sum())

    def compute(self) -> Tensor:
        return torch.tensor(self.found / self.all if self.all else float("nan"))
