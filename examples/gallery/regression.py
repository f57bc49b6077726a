"""Regression with several outputs: where and when a ball lands, and how high it flies."""

import torch
from torch import Tensor


def throws(count: int) -> tuple[Tensor, Tensor]:
    """Draw speed, angle and height of throws, [N, 3]; distance, time and peak of each, [N, 3]."""
    rng = torch.Generator().manual_seed(0)
    scale = torch.tensor([20.0, 1.4, 3.0])  # metres a second, radians, metres
    inputs = torch.rand(count, 3, generator=rng) * scale
    speed, angle, height = inputs.T
    up = speed * angle.sin()
    time = (up + (up**2 + 2 * 9.81 * height).sqrt()) / 9.81
    return inputs, torch.stack([speed * angle.cos() * time, time, height + up**2 / 19.62], dim=1)


class EachMAE:
    """The mean absolute error of each output: a dict of numbers is a metric for each of them."""

    def __init__(self, outputs: list[str], unit: float) -> None:
        self.outputs = outputs
        self.unit = unit
        self.reset()

    def reset(self) -> None:
        self.errors: list[Tensor] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        self.errors.append((output - target).abs())

    def compute(self) -> dict[str, Tensor]:
        means = torch.cat(self.errors).mean(dim=0) * self.unit
        return dict(zip(self.outputs, means, strict=True))
