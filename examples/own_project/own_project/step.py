"""The step: what is computed of a batch, in training and in evaluation."""

from typing import Any

import torch
from torch import Tensor, nn


def noisy(
    model: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor], noise: float = 0.1
) -> dict[str, Any]:
    """Train on measurements with noise; record how far the right class is ahead of the other."""
    inputs, targets = batch
    if model.training:
        inputs = inputs + noise * torch.randn_like(inputs)
    output = model(inputs)
    ahead = (output[:, 0] - output[:, 1]) * (1 - 2 * targets)
    return {
        "loss": loss(output, targets),
        "margin": ahead.mean(),
        "output": output,
        "target": targets,
    }
