"""Classes as a user may have: a network whose numbers cannot be had again, and a metric."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn


class Erratic(nn.Linear):
    """A network whose numbers depend on how often it was built in this process."""

    built = 0

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        Erratic.built += 1
        self.shift = 0.001 * Erratic.built

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input) * (1 + self.shift)  # not a sum, which cross-entropy does not see


class Drawing(nn.Linear):
    """A network that draws from every global random stream, in the constructor and in each forward pass."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.start = random.random() + float(np.random.rand())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        noise = random.random() + float(np.random.normal())
        output = super().forward(input) * (self.start + 0.1 * noise)
        return output + 0.01 * torch.rand(1, device=output.device)


class Share:
    """Accuracy once more, as torchmetrics would have it."""

    def reset(self) -> None:
        self.right, self.seen = 0, 0

    def update(self, output: Tensor, target: Tensor) -> None:
        self.right += int((output.argmax(1) == target).sum())
        self.seen += len(target)

    def compute(self) -> float:
        return self.right / self.seen
